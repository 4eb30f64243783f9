"""The header that says of which organizations an event's writer may tell."""

import pytest

from avro import writers


def test_the_header_is_read_as_it_was_written() -> None:
    name, value = writers.header_of({"b", "a"})
    assert (name, value) == ("ce_organizations", b"a b")
    assert writers.organizations_of([("ce_id", b"x"), (name, value)]) == {"a", "b"}


@pytest.mark.parametrize("headers", [None, [], [("ce_id", b"x"), ("organizations", b"a")]])
def test_without_it_the_writer_is_trusted(headers: list[tuple[str, bytes]] | None) -> None:
    assert writers.organizations_of(headers) is None


@pytest.mark.parametrize("value", [b"", b" ", b"\xff", None])
def test_a_header_that_names_none_is_refused(value: bytes | None) -> None:
    with pytest.raises(ValueError, match=r"."):
        writers.organizations_of([(writers.NAME, value)])


def test_of_several_headers_what_all_of_them_name_counts() -> None:
    several = [(writers.NAME, b"a b"), (writers.NAME, b"b c")]
    assert writers.organizations_of(several) == {"b"}
    assert writers.headers_of([("ce_id", b"x"), *several]) == several


def test_a_request_tells_of_no_more_organizations_than_its_token_may() -> None:
    value = writers.http_value({"a b", "\u00e9"}).encode()
    assert writers.narrowed(None, value) == {"a b", "\u00e9"}
    assert writers.narrowed(frozenset({"\u00e9", "c"}), value) == {"\u00e9"}
    assert writers.narrowed(frozenset({"c"}), value) == frozenset()
