"""JSON in and out without losing a number.

Postgres sends `numeric` values of any size, so integers are read exactly and other numbers as `Decimal`.
"""

import json
import re
from array import array
from decimal import Decimal, InvalidOperation
from itertools import accumulate
from typing import Any

import msgspec

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)
_STEPS = bytes.maketrans(b"{[}]", b"\x01\x01\xff\xff")
_OTHERS = bytes(set(range(256)) - set(b"{}[]"))

_decoder = msgspec.json.Decoder(float_hook=Decimal)
_encoder = msgspec.json.Encoder(order="sorted", decimal_format="number")


class MalformedJsonError(ValueError):
    """The bytes are not JSON according to RFC 8259; the message says why, and never quotes the content."""


def _refuse_constant(name: str) -> Any:
    raise MalformedJsonError(f"{name} is not JSON")


def decode(text: bytes) -> Any:
    """Read one JSON value: int for integers, Decimal for other numbers, the last of repeated keys wins.

    Raises MalformedJsonError for anything that is not UTF-8 JSON (NaN, lone surrogates and numbers whose exponent
    no decimal can hold among it) and RecursionError for nesting deeper than the interpreter allows.
    """
    try:
        return _decoder.decode(text)
    except msgspec.ValidationError:
        # Trap: msgspec refuses integers of more than 4300 digits; the slow decoder reads them as Decimal.
        return _decode_slowly(text)
    except UnicodeDecodeError as error:
        # Trap: msgspec raises this one unchanged, and its text quotes the content.
        raise MalformedJsonError(f"not UTF-8: {error.reason}") from None
    except msgspec.DecodeError as error:
        raise MalformedJsonError(str(error)) from None
    except InvalidOperation:
        raise MalformedJsonError("a number's exponent is out of range") from None


def _decode_slowly(text: bytes) -> Any:
    try:
        value = json.loads(
            text.decode("utf-8"), parse_float=Decimal, parse_int=_exact_integer, parse_constant=_refuse_constant
        )
        # Trap: the standard decoder accepts lone surrogates, which UTF-8 cannot hold.
        _encoder.encode(value)
    except InvalidOperation:
        raise MalformedJsonError("a number's exponent is out of range") from None
    except MalformedJsonError:
        raise
    except ValueError as error:
        raise MalformedJsonError(type(error).__name__) from None
    return value


def _exact_integer(digits: str) -> int | Decimal:
    # Trap: int() refuses more than 4300 digits, as a guard against quadratic time; Decimal reads them linearly.
    return int(digits) if len(digits) < 300 else Decimal(digits)  # noqa: PLR2004


def encode(value: Any) -> bytes:
    """Canonical JSON: keys sorted, no white space, UTF-8, numbers exact.

    Texts that differ only in white space, order of keys or escapes give equal bytes. The scale of a number is part of
    it, as in Postgres: 1.0 and 1.00 give different bytes.
    """
    return _encoder.encode(value)


def encode_text(value: Any) -> str:
    """Return canonical JSON as text, as the events' JSON fields hold it."""
    return _encoder.encode(value).decode()


def depth(text: bytes, most: int) -> int:
    """Return the deepest nesting of arrays and objects in decoded JSON: 0 for a scalar, 1 for `[]`.

    Anything deeper than `most` is `most + 1`.
    """
    # Trap: walking through the decoded value takes a second for a few megabytes of empty objects. The text without its
    # strings is matching brackets, each a step down or up.
    steps = array("b", _STRING.sub(b"", text).translate(_STEPS, _OTHERS))
    return min(max(accumulate(steps), default=0), most + 1)
