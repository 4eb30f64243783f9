"""JSON in and out: exact numbers, one canonical form, and one error for whatever is not JSON."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from avro.jsontext import MalformedJsonError, decode, depth, encode, encode_text

#: Makes the fast decoder give up, so that each case is read by the slow one too.
LONG = b"7" * 4301


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"0", 0),
        (b"-0", 0),
        (b"18446744073709551616", 2**64),
        (b"1" * 4300, int("1" * 4300)),
        (LONG, Decimal("7" * 4301)),
        (b"-" + LONG, Decimal("-" + "7" * 4301)),
        (b"1.10", Decimal("1.10")),
        (b"-0.0", Decimal("-0.0")),
        (b"1e400", Decimal("1E+400")),
        (b"1E-400", Decimal("1E-400")),
        (b'"\\u0000"', "\0"),
        (b'"\\ud83d\\ude00"', "😀"),
        (b'{"a":1,"a":2}', {"a": 2}),
        (b" [ 1 , true , null ] ", [1, True, None]),
    ],
    ids=lambda case: str(case)[:20],
)
def test_reads_numbers_and_texts_exactly(text: bytes, value: Any) -> None:
    read = decode(text)
    assert read == value
    assert encode(read) == encode(value)
    assert decode(b"[%b,%b]" % (text, LONG))[0] == value


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b" ",
        b"{",
        b"[1,]",
        b'{"a":1,}',
        b"1 2",
        b"01",
        b"+1",
        b".5",
        b"1.",
        b"NaN",
        b"Infinity",
        b"-Infinity",
        b"'a'",
        b"{a:1}",
        b'"\n"',
        b'"\\x"',
        b'"\\ud800"',
        b'"\\ude00"',
        b'"\\ud800\\ud800"',
        b'{"\\ud800":1}',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\xc0\x80"',
        b"\xef\xbb\xbf1",
        b"1e99999999999999999999",
        b"1e-99999999999999999999",
        "1".encode("utf-16"),
    ],
)
def test_refuses_what_is_not_json_in_utf8(text: bytes) -> None:
    with pytest.raises(MalformedJsonError):
        decode(text)
    with pytest.raises(MalformedJsonError):
        decode(b"[%b,%b]" % (LONG, text or b" "))


@pytest.mark.parametrize(
    "text", [b'{"password":"hunter2\xff"}', b'{"password":"hunter2\\ud800"}', b'{"password":hunter2}']
)
def test_the_message_of_an_error_never_quotes_the_content(text: bytes) -> None:
    for body in (text, b"[%b,%b]" % (LONG, text)):
        with pytest.raises(MalformedJsonError) as refused:
            decode(body)
        assert "hunter2" not in str(refused.value)
        assert refused.value.__cause__ is None


@pytest.mark.parametrize(("opening", "closing"), [(b"[", b"]"), (b'{"a":', b"}")])
@pytest.mark.parametrize("number", [b"1", LONG], ids=["fast", "slow"])
def test_nesting_that_no_interpreter_allows_is_a_recursion_error(opening: bytes, closing: bytes, number: bytes) -> None:
    with pytest.raises(RecursionError):
        decode(opening * 100_000 + number + closing * 100_000)


def test_a_deep_value_cannot_crash_the_encoder() -> None:
    value: list[Any] = []
    for _ in range(100_000):
        value = [value]
    with pytest.raises(RecursionError):
        encode(value)


def test_canonical_form_does_not_depend_on_order_white_space_or_escapes() -> None:
    assert encode(decode(b'{"b": [1.50, "\\u00e9"], "a": {"d": null, "c": true}}')) == (
        '{"a":{"c":true,"d":null},"b":[1.50,"é"]}'.encode()
    )
    assert encode_text({"b": 1, "a": 2}) == '{"a":2,"b":1}'


@pytest.mark.parametrize(
    ("value", "deepest"),
    [(None, 0), ("[[", 0), ([], 1), ({}, 1), ([1, [2]], 2), ({"a": {"b": []}, "c": 1}, 3), ([[], [[]], {}], 3)],
)
def test_depth_counts_the_deepest_nesting(value: Any, deepest: int) -> None:
    assert depth(encode(value), 100) == deepest


def test_depth_says_only_that_it_is_more_than_what_may_be() -> None:
    assert depth(b"[" * 100_000 + b"]" * 100_000, 100) == 101
    assert depth(b"[" * 100 + b"]" * 100, 100) == 100
    assert depth(b"[" + b",".join([b'{"a":[' * 50 + b"]}" * 50] * 1_000) + b"]", 400) == 101


def walked(value: Any) -> int:
    """Return the nesting by walking through what was read."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return 0 if inner is None else 1 + max(map(walked, inner), default=0)


_texts = st.text(alphabet='[]{}"\\a\n\u00e9', max_size=6)
_values = st.recursive(
    st.none() | _texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_texts, inner, max_size=3),
    max_leaves=20,
)


@given(_values)
def test_brackets_in_texts_are_no_nesting(value: Any) -> None:
    assert depth(encode(value), 1_000) == walked(value)
