"""Writes the pages of docs/ that are made from the code; with --check, says which of them are stale instead."""

import sys
from pathlib import Path

from avro.configuration import describe
from avro.connection import KafkaSettings, RegistrySettings, TopicSettings
from bridge.settings import BridgeSettings
from streams.settings import StreamsSettings

DIRECTORY = Path(__file__).parent

#: Which processes read which settings, in the order of the page.
SECTIONS = (
    ("Bridge", "Read by `bridge serve`.", BridgeSettings),
    ("Streams", "Read by `streams worker`.", StreamsSettings),
    ("Kafka", "Read by every process.", KafkaSettings),
    ("Schema registry", "Read by every process.", RegistrySettings),
    ("Topics", "Read by every process; they must agree.", TopicSettings),
)


def settings_page() -> str:
    """Return the reference of all settings."""
    lines = [
        "# Settings",
        "",
        "Everything is set by environment variables. A process that finds one unusable names all faults and ends with",
        "exit code 2. This page is made by `make docs` from the code.",
    ]
    for title, readers, settings in SECTIONS:
        lines += ["", f"## {title}", "", readers, "", "| variable | type | default | meaning |", "|---|---|---|---|"]
        lines += [
            f"| `{setting.variable}` | {setting.type} | {_code(setting.default)} | {_cell(setting.description)} |"
            for setting in describe(settings)
        ]
    return "\n".join(lines) + "\n"


def _code(default: str) -> str:
    return default if default in {"unset", "required"} else f"`{default}`"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


PAGES = {"settings.md": settings_page}


def main() -> int:
    """Write the pages, or compare them with the files; return the exit code."""
    stale = [name for name, make in PAGES.items() if _read(name) != make()]
    if "--check" in sys.argv[1:]:
        if stale:
            print(f"stale: {', '.join(stale)}; run `make docs`", file=sys.stderr)
        return 1 if stale else 0
    for name in stale:
        (DIRECTORY / name).write_text(PAGES[name](), "utf-8")
    return 0


def _read(name: str) -> str | None:
    path = DIRECTORY / name
    return path.read_text("utf-8") if path.exists() else None


if __name__ == "__main__":
    sys.exit(main())
