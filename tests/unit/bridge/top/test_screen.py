"""What `bridge top` shows of a bridge and a worker, and that it asks for metrics that exist."""

import ast
import io
import re
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from rich.console import Console

from bridge.top.readings import Change, Reading, parse
from bridge.top.screen import duration, number, screen, size
from bridge.top.top import Target, Top, once

ROOT = Path(__file__).parents[4]

BRIDGE = """\
bridge_webhooks_total{{entity="messages",action="insert",outcome="published"}} {published}
bridge_webhooks_total{{entity="messages",action="insert",outcome="spooled"}} 4
bridge_webhooks_total{{entity="",action="",outcome="malformed_json"}} {refused}
bridge_dead_letters_total{{reason="malformed_json"}} {refused}
bridge_answer_seconds_bucket{{le="0.01"}} {published}
bridge_answer_seconds_bucket{{le="+Inf"}} {published}
bridge_requests_in_progress 2
bridge_spool_events 3
bridge_spool_bytes 2048
bridge_spool_oldest_seconds 90
"""
STREAMS = """\
streams_records_applied_total{{source="messages"}} {applied}
streams_records_written_total{{topic="message-state"}} {applied}
streams_lag_records{{source="messages",partition="0"}} 5
streams_lag_records{{source="messages",partition="3"}} 1200
streams_partitions_owned 4
streams_partitions_ready 3
streams_partitions_stalled 1
streams_records_lost_total{{source="messages"}} 0
"""


def reading(at: float, text: str, *, state: str = "ready", remarks: tuple[str, ...] = ()) -> Reading:
    return Reading(at, state, remarks, series=parse(text))


def shown(bridges: dict[str, Change], workers: dict[str, Change]) -> str:
    console = Console(file=io.StringIO(), width=200, highlight=False, markup=False)
    console.print(screen(bridges, workers, datetime(2026, 11, 26, 3, 0, tzinfo=UTC)))
    return console.file.getvalue()


def test_a_screen_has_rates_spool_lag_dead_letters_and_what_hinders():
    bridge = Change(
        reading(0, BRIDGE.format(published=100, refused=0)),
        reading(2, BRIDGE.format(published=500, refused=3), state="degraded", remarks=("kafka: \x1b[31maway",)),
    )
    worker = Change(reading(0, STREAMS.format(applied=0)), reading(2, STREAMS.format(applied=25)))
    text = shown({"http://b": bridge}, {"http://s": worker})
    (bridge_line,) = (line for line in text.splitlines() if line.startswith("http://b"))
    assert " ".join(bridge_line.split()) == "http://b degraded 202 200 0 1.5 5 ms 10 ms 2 3 (2.0 KiB) 1.5 min"
    (worker_line,) = (line for line in text.splitlines() if line.startswith("http://s"))
    assert " ".join(worker_line.split()) == "http://s ready 12 12 1,205 1,200 in 3 3 of 4 1 - - 0"
    assert re.search(r"malformed_json +bridge +3 +\+3", text)
    assert "http://b  kafka: \\u001b[31maway" in text


def test_after_a_look_without_an_answer_nothing_old_is_new():
    """As after a request that took more than 2 s: the process has counted all that since its start."""
    away = Reading(0, "down", fault="does not answer: ReadTimeout")
    text = shown({"http://b": Change(away, reading(2, BRIDGE.format(published=500, refused=3)))}, {})
    assert re.search(r"malformed_json +bridge +3 +-", text)
    (line,) = (line for line in text.splitlines() if line.startswith("http://b"))
    assert " ".join(line.split()) == "http://b ready - - - - - - 2 3 (2.0 KiB) 1.5 min"


def test_a_process_that_does_not_answer_has_no_numbers_and_a_reason():
    down = Reading(0, "down", fault="does not answer: ConnectError")
    text = shown({"http://b": Change(down, down)}, {"http://s": Change(down, down)})
    assert "http://b  does not answer: ConnectError" in text
    assert "dead letters" not in text
    (line,) = (line for line in text.splitlines() if line.startswith("http://s") and "down" in line)
    assert set(line.split()[2:]) == {"-"}


def test_it_asks_for_metrics_that_exist():
    page = (ROOT / "docs" / "metrics.md").read_text("utf-8")
    tree = ast.parse((ROOT / "bridge" / "top" / "screen.py").read_text("utf-8"))
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    names = {text for text in texts if re.fullmatch(r"(bridge|streams)_\w+[a-z]", text)}
    assert len(names) > 10
    assert [name for name in sorted(names) if f"`{name}`" not in page] == []


def top(state: str) -> Top:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/readyz":
            return httpx.Response(200, json={"status": state})
        return httpx.Response(200, text=BRIDGE.format(published=1, refused=0))

    return Top([Target("http://b", None)], [], transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(("state", "well"), [("ready", True), ("degraded", False)])
def test_once_prints_a_screen_and_says_whether_all_is_well(state, well):
    console = Console(file=io.StringIO(), width=200)
    waits: list[None] = []
    with top(state) as seen:
        assert once(seen, console, lambda: waits.append(None)) is well
    assert len(waits) == 1
    assert "http://b" in console.file.getvalue()


def test_numbers_are_short():
    assert [number(rate) for rate in (None, 0, 0.25, 9.96, 12.3, 12_345.6)] == ["-", "0", "0.2", "10.0", "12", "12,346"]
    assert [duration(seconds) for seconds in (None, 0, 0.0123, 1.25, 90, 7200, 200_000, float("inf"))] == [
        "-",
        "0.0 s",
        "12 ms",
        "1.2 s",
        "1.5 min",
        "2.0 h",
        "2.3 d",
        "very long",
    ]
    assert [size(count) for count in (0, 1023, 2048, 5 * 2**30)] == ["0 B", "1023 B", "2.0 KiB", "5.0 GiB"]
