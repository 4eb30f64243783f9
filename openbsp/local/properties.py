"""Java's .properties files."""

import json
from collections.abc import Mapping
from pathlib import Path


def write_properties(path: Path, properties: Mapping[str, str | int | bool]) -> None:
    """Write a file of Java `properties`, readable by its owner only.

    Keys must be plain names: letters, digits, and `.`, `-`, `_`, `"`.
    """
    lines = [f"{key}={_text(value)}\n" for key, value in properties.items()]
    path.unlink(missing_ok=True)
    path.touch(0o600)  # it may hold passwords
    path.write_text("".join(lines), "ascii")


def _text(value: str | float) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    # Java reads such files as Latin-1 or as UTF-8, depending on the reader. JSON's escapes are ASCII, and also Java's.
    text = json.dumps(str(value))[1:-1]
    return f"\\{text}" if text.startswith(" ") else text
