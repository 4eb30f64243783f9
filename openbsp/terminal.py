"""Makes external text safe for a terminal: it must not move the cursor, or change what is read."""

import re

#: Control characters, lone surrogates, line separators, and characters that change the text direction (Unicode UAX 9).
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")


def printable(text: str) -> str:
    r"""Return a text with everything unsafe as an escape of JSON (`\u001b`). JSON stays JSON of the same meaning."""
    return _UNSAFE.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def printable_bytes(data: bytes, most: int) -> str:
    r"""Return bytes as text, at most so many of them: invalid UTF-8 as `\xff`, everything unsafe as above."""
    text = printable(data[:most].decode("utf-8", "backslashreplace"))
    return text if len(data) <= most else f"{text} ... {len(data) - most} more bytes"
