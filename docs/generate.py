"""Writes the pages of docs/ that are made from the code; with --check, says which of them are stale instead."""

import sys
from pathlib import Path

import bridge.metrics
import bridge.reconcile.metrics
import streams.metrics
from bridge.reconcile.settings import ReconcileSettings
from bridge.sender.settings import OpenBspSettings
from bridge.settings import BridgeSettings
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import describe
from streams.settings import StreamsSettings

DIRECTORY = Path(__file__).parent

#: Which processes read which settings, in the order of the page.
SECTIONS = (
    ("Bridge", "Read by `bridge serve`.", BridgeSettings),
    ("OpenBSP", "Read by `bridge connect` and `bridge reconcile`.", OpenBspSettings),
    ("Reconcile", "Read by `bridge reconcile`.", ReconcileSettings),
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
        "",
        "Traces and metrics over OTLP are set by OpenTelemetry's own variables: [traces](tracing.md).",
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


def metrics_page() -> str:
    """Return the reference of all metrics."""
    lines = [
        "# Metrics",
        "",
        "In Prometheus' format at `/metrics` of every process. This page is made by `make docs` from the code.",
    ]
    for title, token, metrics in (
        ("Bridge", "a token that may send, or `BRIDGE_METRICS_TOKEN`", bridge.metrics.describe()),
        (
            "Reconcile",
            "everyone who reaches the port of `bridge reconcile --every` (`RECONCILE_METRICS_PORT`)",
            bridge.reconcile.metrics.describe(),
        ),
        (
            "Streams",
            "a token that may read everything (one that is not bound to organizations), or `STREAMS_METRICS_TOKEN`",
            streams.metrics.describe(),
        ),
    ):
        lines += [
            "",
            f"## {title}",
            "",
            f"For {token}.",
            "",
            "| metric | type | labels | meaning |",
            "|---|---|---|---|",
        ]
        lines += [
            f"| `{metric.name}` | {metric.type} | {', '.join(metric.labels)} | {_cell(metric.meaning)} |"
            for metric in metrics
        ]
    return "\n".join(lines) + "\n"


PAGES = {"settings.md": settings_page, "metrics.md": metrics_page}


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
