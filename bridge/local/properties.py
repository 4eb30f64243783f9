"""Java's .properties files."""

from collections.abc import Mapping
from pathlib import Path

_ESCAPES = str.maketrans({"\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"})


def write_properties(path: Path, properties: Mapping[str, str | int | bool]) -> None:
    """Write a file that Java reads as `properties`. Keys must be plain names (letters, digits, and `.`, `-`, `_`)."""
    lines = [f"{key}={_text(value)}\n" for key, value in properties.items()]
    path.touch(0o600)  # may hold passwords
    path.write_text("".join(lines), "utf-8")


def _text(value: str | float) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value).translate(_ESCAPES)
    return f"\\{text}" if text.startswith(" ") else text
