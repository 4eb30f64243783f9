"""Metrics over OTLP: when they are sent, what they are, and what happens when they cannot be sent."""

import asyncio

import pytest
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from openbsp import otlp_metrics
from openbsp.otlp_metrics import MetricsSender, converted
from support.collector import collecting

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
ASKED = {**COLLECTOR, "OTEL_METRICS_EXPORTER": "otlp"}
METRICS_ENDPOINT = {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://127.0.0.1:9/v1/metrics"}


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        # That may be Jaeger, which takes traces and nothing else.
        (COLLECTOR, False),
        (ASKED, True),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, False),
        (METRICS_ENDPOINT, True),
        ({**METRICS_ENDPOINT, "OTEL_METRICS_EXPORTER": "none"}, False),
        ({**ASKED, "OTEL_METRICS_EXPORTER": "prometheus"}, False),
        ({**ASKED, "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "", "OTEL_METRICS_EXPORTER": ""}, False),
    ],
)
def test_metrics_are_sent_only_where_somebody_asks_for_them(variables, wanted):
    assert otlp_metrics.wanted(variables) is wanted


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is supported"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "often"}, "cannot be used"),
        ({"OTEL_METRIC_EXPORT_INTERVAL": "-1"}, "cannot be used"),
    ],
)
def test_what_hinders_metrics_is_logged_and_hinders_nothing_else(environment, caplog, variables, words):
    environment({**ASKED, **variables})
    assert otlp_metrics.start("openbsp-bridge", "here:1", measured_never) is None
    assert "metrics are off" in caplog.text
    assert words in caplog.text


async def measured_never() -> CollectorRegistry:
    raise AssertionError("nobody asked")


def test_each_kind_of_metric_keeps_its_name_meaning_labels_and_values(environment):
    registry = CollectorRegistry()
    Counter("bridge_webhooks", "Answers.", ["outcome"], registry=registry).labels("published").inc(3)
    Gauge("bridge_spool_events", "Events.", registry=registry).set(7)
    histogram = Histogram("bridge_answer_seconds", "Time.", ["entity"], registry=registry, buckets=(0.1, 1.0))
    for seconds in (0.05, 0.5, 0.6, 30.0):
        histogram.labels("messages").observe(seconds)
    Counter("bridge_never_counted", "Nothing.", ["label"], registry=registry)

    async def measured() -> CollectorRegistry:
        return registry

    with collecting() as collector:
        environment({**ASKED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint})

        async def send_once() -> None:
            await MetricsSender.of("openbsp-bridge", "here:1", measured, 5).close()

        asyncio.run(send_once())
        (metrics,) = collector.metrics("openbsp-bridge").values()
    assert {name: (metric.kind, metric.help) for name, metric in metrics.items()} == {
        "bridge_webhooks_total": ("sum", "Answers."),
        "bridge_spool_events": ("gauge", "Events."),
        "bridge_answer_seconds": ("histogram", "Time."),
    }
    counted = metrics["bridge_webhooks_total"].points[("outcome", "published"),]
    assert counted.as_double == 3
    assert counted.start_time_unix_nano == 5
    assert metrics["bridge_spool_events"].points[()].as_double == 7
    timed = metrics["bridge_answer_seconds"].points[("entity", "messages"),]
    assert list(timed.explicit_bounds) == [0.1, 1.0]
    assert list(timed.bucket_counts) == [1, 2, 1]
    assert timed.count == 4
    assert timed.sum == pytest.approx(31.15)
    assert not timed.HasField("min")


def test_buckets_are_in_the_order_of_their_bounds():
    """As text, 10 comes before 2."""
    registry = CollectorRegistry()
    Histogram("waited_seconds", "Time.", registry=registry, buckets=(2.0, 10.0)).observe(5)
    (metric,) = converted(registry, 0, 1)
    (point,) = metric.data.data_points
    assert point.explicit_bounds == [2.0, 10.0]
    assert point.bucket_counts == [0, 1, 0]


def test_a_measurement_that_fails_is_logged_and_the_next_one_is_sent(environment, caplog):
    attempts = []
    sent = asyncio.Event()

    async def measured() -> CollectorRegistry:
        attempts.append(None)
        if len(attempts) == 1:
            raise OSError(28, "No space left on device")
        if len(attempts) == 3:
            sent.set()
        registry = CollectorRegistry()
        Gauge("streams_tokens", "Tokens.", registry=registry).set(1)
        return registry

    with collecting() as collector:
        environment({**ASKED, "OTEL_EXPORTER_OTLP_ENDPOINT": collector.endpoint, "OTEL_METRIC_EXPORT_INTERVAL": "1"})

        async def send() -> None:
            sender = MetricsSender.of("openbsp-streams", "here:1", measured, 0)
            task = asyncio.create_task(sender.run())
            await sent.wait()
            assert collector.metrics("openbsp-streams")
            task.cancel()

        asyncio.run(asyncio.wait_for(send(), 60))
    assert "No space left on device" in caplog.text


def test_the_end_gives_a_silent_collector_up(environment, monkeypatch):
    monkeypatch.setattr(otlp_metrics, "FAREWELL_S", 0.01)
    environment(ASKED)
    ended = []

    async def measured() -> CollectorRegistry:
        await asyncio.Event().wait()
        raise AssertionError

    async def close() -> None:
        sender = MetricsSender.of("openbsp-bridge", "here:1", measured, 0)
        await sender.close()
        ended.append(sender._exporter._shutdown)

    asyncio.run(asyncio.wait_for(close(), 60))
    assert ended == [True]
