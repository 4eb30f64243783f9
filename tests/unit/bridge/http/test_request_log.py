"""The line and the counts of each request."""

import json
import os
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from bridge.http.request_log import RequestLine, RequestLog
from bridge.metrics import Metrics
from openbsp.http import refusals
from openbsp.log import FirstLines, LineWriter


def test_times_are_right_across_seconds(tmp_path: Path):
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(descriptor)
    requests = RequestLog(Metrics(CollectorRegistry()), writer)
    for received_at in (1_700_000_000_999_999, 1_700_000_001_000_000, 1_700_000_000_000_001):
        requests.add(RequestLine(status=202, outcome="published"), received_at, 0.0015)
    writer.close()
    os.close(descriptor)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert lines[0] == {
        "event": "webhook.answered",
        "time": "2023-11-14T22:13:20.999999Z",
        "status": 202,
        "outcome": "published",
        "duration_ms": 1.5,
    }
    assert [line["time"][-10:] for line in lines] == ["20.999999Z", "21.000000Z", "20.000001Z"]


def test_of_many_misdirected_requests_the_first_ones_have_lines_and_the_rest_a_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(descriptor)
    metrics = Metrics(CollectorRegistry())
    requests = RequestLog(metrics, writer)
    for _ in range(1_000):
        requests.add_misdirected(refusals.NOT_FOUND, "POST", "/hooks", "192.0.2.1")
    monkeypatch.setattr(FirstLines, "_EVERY_S", 0.0)
    requests.add_misdirected(refusals.METHOD_NOT_ALLOWED, "PUT", "/readyz", None)
    writer.close()
    os.close(descriptor)
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [(line["status"], line["outcome"], line.get("not_logged")) for line in lines] == [
        *[(404, "not_found", None)] * 10,
        (405, "method_not_allowed", 990),
    ]
    assert 'bridge_misdirected_total{method="POST"} 1000.0' in generate_latest(metrics.registry).decode()


def test_on_a_terminal_nothing_of_a_client_is_obeyed(tmp_path: Path):
    descriptor = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    writer = LineWriter(descriptor)
    writer.text = True
    requests = RequestLog(Metrics(CollectorRegistry()), writer)
    requests.add_misdirected(refusals.NOT_FOUND, "POST", "/\x1b[2J\x9b2J\n2026-11-26 forged", None)
    requests.add(RequestLine(status=422, outcome="unsupported_entity", entity="\x1b]0;title\x07"), 0, 0.1)
    writer.close()
    os.close(descriptor)
    text = (tmp_path / "log").read_text()
    assert len(text.splitlines()) == 2
    assert text.replace("\n", "").isprintable()
    assert "POST /\\x1b[2J\\x9b2J\\n2026-11-26 forged" in text


def test_counts_are_folded_once():
    metrics = Metrics(CollectorRegistry())
    requests = RequestLog(metrics, None)
    for _ in range(3):
        requests.add(RequestLine(outcome="published", entity="messages", action="insert"), 0, 0.003)
    requests.add(RequestLine(outcome="unsupported_entity", entity="made up", action="made up"), 0, 7.0)
    for _ in range(2):
        requests.fold()
        metrics.answer_seconds.fold()
    text = generate_latest(metrics.registry).decode()
    assert 'bridge_webhooks_total{action="insert",entity="messages",outcome="published"} 3.0' in text
    assert 'bridge_webhooks_total{action="other",entity="other",outcome="unsupported_entity"} 1.0' in text
    assert 'bridge_answer_seconds_bucket{le="0.002"} 0.0' in text
    assert 'bridge_answer_seconds_bucket{le="0.005"} 3.0' in text
    assert 'bridge_answer_seconds_bucket{le="5.0"} 3.0' in text
    assert 'bridge_answer_seconds_bucket{le="+Inf"} 4.0' in text
    assert "bridge_answer_seconds_count 4.0" in text
    assert f"bridge_answer_seconds_sum {7.009}" in text


@pytest.mark.parametrize("value", [0.002, 0.0020001, 5.0, 5.1, 0.0])
def test_a_tally_counts_as_the_library_does(value: float):
    ours, theirs = Metrics(CollectorRegistry()), Metrics(CollectorRegistry())
    ours.answer_seconds.observe(value)
    ours.answer_seconds.fold()
    theirs.answer_seconds._histogram.observe(value)
    assert samples(ours) == samples(theirs)


def samples(metrics: Metrics) -> list[tuple[str, float]]:
    return [
        (f"{sample.name}{sample.labels}", sample.value)
        for family in metrics.registry.collect()
        for sample in family.samples
        if sample.name.startswith("bridge_answer_seconds") and not sample.name.endswith("_created")
    ]
