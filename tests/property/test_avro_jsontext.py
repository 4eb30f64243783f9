"""The JSON reader against the standard library's, on good and on broken input."""

import json
from decimal import Decimal
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from avro.jsontext import MalformedJsonError, decode, encode

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda children: st.lists(children, max_size=5) | st.dictionaries(TEXT, children, max_size=5),
    max_leaves=20,
)
FRAGMENTS = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *(
                    b"[",
                    b"]",
                    b"{",
                    b"}",
                    b",",
                    b":",
                    b'"',
                    b"\\",
                    b"\\u",
                    b"d800",
                    b"dc00",
                    b"00e9",
                    b"-",
                    b".",
                    b"e",
                    b"+",
                ),
                *(b"0", b"1", b"9" * 400, b"9" * 4301, b"e99999999999999999999", b"true", b"null", b"NaN", b"Infinity"),
                *(b" ", b"\n", b"\x00", b"\xff", b"\xed\xa0\x80", b"\xc3\xa9", b'"a":', b'"a"', b"\xef\xbb\xbf", b"/*"),
            ]
        ),
        st.binary(max_size=3),
    ),
    max_size=12,
).map(b"".join)


def reference(text: bytes) -> Any:
    """Read with the standard library, as strictly as RFC 8259 wants it. Raises ValueError."""

    def refuse(name: str) -> Any:
        raise ValueError(name)

    value = json.loads(text.decode("utf-8"), parse_int=Decimal, parse_float=Decimal, parse_constant=refuse)
    json.dumps(value, ensure_ascii=False, default=str).encode("utf-8")  # lone surrogates
    return value


@given(VALUES, st.sampled_from([None, 0, 3]), st.booleans())
def test_reads_what_the_standard_library_writes(value: Any, indent: int | None, ascii_only: bool) -> None:  # noqa: FBT001
    text = json.dumps(value, indent=indent, ensure_ascii=ascii_only).encode()
    assert decode(text) == reference(text)


@given(VALUES)
def test_canonical_json_is_a_fixed_point_and_valid(value: Any) -> None:
    text = encode(decode(json.dumps(value).encode()))
    assert encode(decode(text)) == text
    assert json.loads(text) == json.loads(json.dumps(value))


@given(st.one_of(FRAGMENTS, st.binary(max_size=40), VALUES.map(lambda value: json.dumps(value).encode())), st.data())
@example(b'"\xff"', None)
@example(b'["\\ude00",' + b"1" * 4301 + b"]", None)
def test_any_bytes_are_read_alike_or_refused_with_the_one_error(text: bytes, data: st.DataObject | None) -> None:
    if data is not None and text and data.draw(st.booleans()):
        cut = data.draw(st.integers(0, len(text) - 1))
        text = text[:cut] + data.draw(st.binary(max_size=2)) + text[cut + 1 :]
    try:
        wanted: Any = reference(text)
    except (ValueError, ArithmeticError, RecursionError):
        wanted = MalformedJsonError
    try:
        read: Any = decode(text)
    except MalformedJsonError:
        read = MalformedJsonError
    assert read == wanted
    if read is not MalformedJsonError:
        encode(read)
