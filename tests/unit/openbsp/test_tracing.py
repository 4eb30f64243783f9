"""Traces: when they are sent, and what happens when they cannot be."""

import subprocess
import sys
import threading

import pytest
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from openbsp import tracing
from openbsp.tracing import Kind, Tracing, header_of, is_sampled
from support.spans import Spans

COLLECTOR = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
PARENT = b"00-" + b"a" * 32 + b"-" + b"b" * 16 + b"-01"


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        (COLLECTOR, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://127.0.0.1:9/v1/traces"}, True),
        # As Compose and charts set what is not set.
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({**COLLECTOR, "OTEL_SDK_DISABLED": "TRUE"}, False),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**COLLECTOR, "OTEL_TRACES_EXPORTER": "otlp"}, True),
    ],
)
def test_traces_are_sent_only_where_a_collector_is_named(variables, wanted):
    assert tracing.wanted(variables) is wanted


def test_without_a_collector_nothing_of_opentelemetry_is_even_imported():
    program = (
        "import sys, bridge.service, streams.app, streams.views.service\n"
        "from openbsp.tracing import start\n"
        "assert start('x') is None\n"
        "sys.exit(any(name.partition('.')[0] == 'opentelemetry' for name in sys.modules))"
    )
    clean = {name: value for name, value in tracing.os.environ.items() if not name.startswith("OTEL_")}
    assert subprocess.run([sys.executable, "-c", program], env=clean, check=False).returncode == 0


@pytest.mark.parametrize(
    ("variables", "words"),
    [
        ({"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "only http/protobuf is supported"),
        ({"OTEL_BSP_MAX_QUEUE_SIZE": "-1"}, "cannot be used"),
    ],
)
def test_what_hinders_traces_is_logged_and_hinders_nothing_else(environment, caplog, variables, words):
    environment({**COLLECTOR, **variables})
    assert tracing.start("openbsp-bridge") is None
    assert words in caplog.text


@pytest.mark.parametrize("headers", ["Authorization: Bearer hush-hush", 'a=b,x-key="hush-hush"'])
def test_a_header_that_cannot_be_used_is_said_without_its_value(environment, caplog, headers):
    environment({**COLLECTOR, "OTEL_EXPORTER_OTLP_HEADERS": headers})
    running = tracing.start("openbsp-bridge")
    assert running is not None
    running.close()
    assert "OTEL_EXPORTER_OTLP_HEADERS cannot be used" in caplog.text
    assert "hush" not in caplog.text


def test_a_missing_extra_is_logged_and_hinders_nothing_else(environment, caplog, monkeypatch):
    environment(COLLECTOR)
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    assert tracing.start("openbsp-bridge") is None
    assert "the extra `otel` is not installed" in caplog.text


@pytest.mark.parametrize(
    ("variables", "name"),
    [
        ({}, "openbsp-bridge"),
        ({"OTEL_SERVICE_NAME": "mine"}, "mine"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "service.name=ours,team=desk"}, "ours"),
    ],
)
def test_a_process_has_a_name_unless_it_is_given_another(environment, variables, name):
    environment({**COLLECTOR, **variables})
    running = Tracing.of("openbsp-bridge")
    try:
        assert running._provider.resource.attributes["service.name"] == name
    finally:
        running.close()


def test_a_header_leads_to_its_span_and_back():
    spans = Spans()
    parent = spans.tracing.parent(PARENT)
    with_parent = spans.tracing.span("a", Kind.CONSUMER, parent)
    assert with_parent.get_span_context().trace_id == parent.trace_id
    assert spans.tracing.parent(header_of(with_parent.get_span_context())).span_id == (
        with_parent.get_span_context().span_id
    )
    assert header_of(parent) == PARENT
    assert is_sampled(PARENT)
    assert not is_sampled(PARENT[:-1] + b"0")


@pytest.mark.parametrize("header", [None, b"", b"nonsense", PARENT.upper(), b"00-" + b"0" * 32 + PARENT[35:]])
def test_what_is_no_context_leads_nowhere(header):
    assert Spans().tracing.parent(header) is None


@pytest.mark.parametrize("header", [b"", b"x", b"\xff\xff", b"00-01-zz"])
def test_what_is_no_context_asks_for_nothing(header):
    assert not is_sampled(header)


def test_an_unsampled_parent_makes_no_span_and_passes_its_decision_on():
    spans = Spans()
    span = spans.tracing.span("a", Kind.SERVER, spans.tracing.parent(PARENT[:-2] + b"00"))
    span.end()
    assert spans.ended == []
    assert header_of(span.get_span_context()).endswith(b"-00")


def test_the_end_gives_a_silent_collector_up(monkeypatch):
    monkeypatch.setattr(tracing, "FAREWELL_S", 0.01)
    given_up = threading.Event()

    class Hanging:
        sampler, id_generator = None, RandomIdGenerator()

        def get_tracer(self, _: str) -> None:
            pass

        def shutdown(self) -> None:
            assert given_up.wait(30)

    Tracing(Hanging(), given_up.set).close()
    assert given_up.is_set()
