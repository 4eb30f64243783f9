"""What `bridge top` makes of a process's own answers."""

import math

import httpx
import pytest

from bridge.top.readings import Change, Reading, ask, parse, readiness

TEXT = """\
# TYPE requests_total counter
requests_total{a="1",b="x"} 5
requests_total{a="1",b="y"} 7
requests_total{a="2",b="x"} 1
# TYPE seconds histogram
seconds_bucket{le="0.1"} 50
seconds_bucket{le="1.0"} 90
seconds_bucket{le="+Inf"} 100
seconds_count 100
seconds_sum 30
"""


def reading(at: float, text: str) -> Reading:
    return Reading(at, "ready", series=parse(text))


def test_series_are_summed_by_the_labels_that_are_asked_for():
    found = reading(0, TEXT)
    assert found.total("requests_total") == 13
    assert found.total("requests_total", a="1") == 12
    assert found.total("requests_total", a="1", b="y") == 7
    assert found.total("none") == 0
    assert found.by("requests_total", "a") == {"1": 12, "2": 1}


def test_a_rate_is_the_growth_per_second_and_starts_again_with_the_process():
    former, now = reading(10, "requests_total 100"), reading(12, "requests_total 150")
    assert Change(former, now).rate("requests_total") == 25
    assert Change(now, reading(14, "requests_total 30")).rate("requests_total") == 15


def test_without_numbers_there_is_no_rate():
    down = Reading(10, "down", fault="does not answer")
    up = reading(12, "requests_total 150")
    assert Change(down, up).rate("requests_total") is None
    assert Change(up, down).rate("requests_total") is None


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.7, 0.55), (0.99, math.inf)])
def test_a_quantile_lies_within_its_bucket(share, expected):
    assert Change(Reading(0, "ready"), reading(1, TEXT)).quantile("seconds", share) == pytest.approx(expected)


def test_only_what_came_in_between_counts_for_a_quantile():
    later = TEXT.replace("50\n", "50\n").replace("90\n", "93\n").replace("100\n", "103\n")
    change = Change(reading(0, TEXT), reading(1, later))
    assert change.quantile("seconds", 0.5) == pytest.approx(0.55)
    assert Change(reading(0, TEXT), reading(1, TEXT)).quantile("seconds", 0.5) is None


def test_readiness_names_everything_that_hinders():
    said = {
        "status": "degraded",
        "waiting_for": {"kafka": "openbsp.messages: missing"},
        "remarks": ["a remark"],
        "limits_reached": ["memory"],
        "last_publish_failure": "deadline",
        "spool": {
            "events": 3,
            "failing": "disk full",
            "last_drain_failure": "no",
            "quarantined": 2,
            "damaged_files": [],
        },
    }
    assert readiness(200, said) == (
        "degraded",
        (
            "kafka: openbsp.messages: missing",
            "a remark",
            "limit reached: memory",
            "the spool cannot be written: disk full",
            "the spool does not drain: no",
            "events in quarantine: 2",
            "the last record was not published: deadline",
        ),
    )
    assert readiness(503, {"reason": "not_ready", "detail": "partitions are catching up"}) == (
        "unready",
        ("partitions are catching up",),
    )
    assert readiness(200, {"status": "ready"}) == ("ready", ())
    assert readiness(502, None) == ("unready", ())


def client(**answers: httpx.Response | Exception) -> httpx.Client:
    def answer(request: httpx.Request) -> httpx.Response:
        found = answers[request.url.path.strip("/")]
        if isinstance(found, Exception):
            raise found
        assert request.headers["authorization"] == "Bearer t"
        return found

    return httpx.Client(base_url="http://process", transport=httpx.MockTransport(answer))


@pytest.mark.parametrize(
    ("answers", "state", "fault"),
    [
        (
            {"readyz": httpx.Response(200, json={"status": "ready"}), "metrics": httpx.Response(200, text=TEXT)},
            "ready",
            None,
        ),
        ({"readyz": httpx.ConnectError("refused")}, "down", "does not answer: ConnectError refused"),
        (
            {"readyz": httpx.Response(200, json={"status": "ready"}), "metrics": httpx.Response(401)},
            "ready",
            "METRICS_TOKEN",
        ),
        ({"readyz": httpx.Response(503), "metrics": httpx.Response(500)}, "unready", "answers 500 to /metrics"),
        ({"readyz": httpx.Response(200), "metrics": httpx.Response(200, text="<html>")}, "ready", "is it one of ours"),
    ],
)
def test_what_is_no_answer_is_said(answers, state, fault):
    found = ask(client(**answers), "t")
    assert found.state == state
    assert found.fault is None if fault is None else fault in found.fault
