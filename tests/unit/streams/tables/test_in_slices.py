"""What is dealt with together is never much, however large single items are."""

from hypothesis import given
from hypothesis import strategies as st

from streams.tables.in_slices import slices

SLICE = 50


@given(st.lists(st.integers(0, 200)))
def test_all_items_come_in_order_and_nothing_joins_a_slice_that_is_full(weights):
    found = list(slices(weights, lambda weight: weight))
    assert [weight for some in found for weight in some] == weights
    assert all(some for some in found)
    for some in found:
        assert sum(some[:-1]) < SLICE
    for some in found[:-1]:
        assert sum(some) >= SLICE
