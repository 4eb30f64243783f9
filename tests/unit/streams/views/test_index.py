"""The index of conversations answers as a scan of all of them would, and forgets what it is told to forget."""

from hypothesis import given
from hypothesis import strategies as st

from openbsp.merge.registers import NEVER
from streams.views.read.index import ConversationIndex, Facets, Filter, Kind

IDS = ["a", "b", "c", "d", "\u00e9", "\U0001f600"]
organizations = st.sampled_from([None, "o1", "o2"])
statuses = st.sampled_from([None, "open", "closed"])
services = st.sampled_from([None, "whatsapp"])
moments = st.sampled_from([None, NEVER, -5, 0, 1, 2, 2**62])

contacts = st.sampled_from([None, "111", "222"])
# Few flags vary at once, so that the same kind comes again.
kinds = st.builds(Kind, statuses, services, st.booleans(), archived=st.booleans())
kinds |= st.builds(Kind, st.just("open"), st.none(), *(st.booleans(),) * 5)
facets = st.builds(Facets, organizations, kinds, contacts)
steps = st.lists(st.tuples(st.sampled_from(IDS), st.none() | st.tuples(facets, moments)), max_size=20)
filters = st.builds(
    Filter,
    st.none() | st.frozensets(st.sampled_from(["o1", "o2", "o3"])),
    statuses,
    services,
    *(st.none() | st.booleans(),) * 5,
    st.none() | contacts,
    moments,
)


def built(changes) -> tuple[ConversationIndex, dict]:
    index, entries = ConversationIndex(), {}
    for key, entry in changes:
        if entry is None:
            index.remove(key)
            entries.pop(key, None)
        else:
            index.put(key, *entry)
            entries[key] = entry
    return index, entries


def at(moment: int | None) -> int:
    return NEVER if moment is None else moment


@given(steps, filters, st.none() | st.tuples(moments.map(at), st.sampled_from(IDS)), st.integers(1, 4))
def test_a_page_is_the_beginning_of_what_is_below_the_cursor_in_order(changes, wanted, below, limit):
    index, entries = built(changes)
    everything = sorted(
        ((at(moment), key) for key, (own, moment) in entries.items() if wanted.admits(own, at(moment))), reverse=True
    )
    expected = [position for position in everything if below is None or position < below]
    assert index.page(wanted, below, limit) == expected[:limit]
    assert len(index) == len(entries)


@given(steps, filters, st.integers(1, 3))
def test_pages_one_after_the_other_have_everything_once(changes, wanted, limit):
    index, _ = built(changes)
    found, below = [], None
    while page := index.page(wanted, below, limit):
        found += page
        below = page[-1]
    assert found == index.page(wanted, None, 100)


@given(steps)
def test_an_index_from_which_all_is_removed_keeps_nothing(changes):
    index, entries = built(changes)
    for key in entries:
        index.remove(key)
    assert len(index) == 0
    assert index.page(Filter(), None, 10) == []
    assert not index._organizations
    assert not index._all
    assert not index._contacts


def test_no_filter_admits_conversations_of_no_organization_to_those_who_are_bound_to_one():
    index = ConversationIndex()
    index.put("a", Facets(None, Kind("open", None, awaiting_reply=True)), 1)
    assert index.page(Filter(frozenset({"o1"})), None, 10) == []
    assert index.page(Filter(), None, 10) == [(1, "a")]
