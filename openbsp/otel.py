"""The common parts of OpenTelemetry traces and metrics. Needs the extra `otel`; see docs/tracing.md."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from openbsp.log import event

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

T = TypeVar("T")

#: How long shutdown waits for a collector. The library would retry for 10 s and more.
FAREWELL_S = 2.0

_PROTOCOL = "http/protobuf"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signal:
    """One kind of data for a collector: its name in messages, in variables and in the log."""

    name: str
    variable: str
    off: str


TRACES = Signal("traces", "TRACES", "tracing.off")
METRICS = Signal("metrics", "METRICS", "metrics.off")


def allowed(environment: Mapping[str, str]) -> bool:
    """Return whether OpenTelemetry is not disabled as a whole."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def unless_hindered(signal: Signal, make: Callable[[], T]) -> T | None:
    """Return the result of `make`; None, and a warning in the log, if it fails.

    A process runs without: webhooks are worth more, and variables OTEL_... are often set for a whole cluster.
    """
    off = event(signal.off)
    names = (f"OTEL_EXPORTER_OTLP_{signal.variable}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((os.environ[name] for name in names if os.environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        text = "%s are off: OTEL_EXPORTER_OTLP_PROTOCOL is %s, and only %s is supported"
        _log.warning(text, signal.name, protocol, _PROTOCOL, extra=off)
        return None
    # Trap: the library would log unusable parts of OTEL_EXPORTER_OTLP_HEADERS as they are, tokens included.
    logging.getLogger("opentelemetry.util.re").addFilter(_without_value)
    try:
        return make()
    except ImportError:
        _log.warning("%s are off: a collector is set, but the extra `otel` is not installed", signal.name, extra=off)
    except ValueError as error:
        # The library's message about an unusable variable.
        _log.warning("%s are off: a variable OTEL_... cannot be used: %s", signal.name, error, extra=off)
    return None


def _without_value(record: logging.LogRecord) -> bool:
    """Make the library report an unusable header without its value."""
    record.msg = (
        "a part of OTEL_EXPORTER_OTLP_HEADERS cannot be used, and is not sent: it is to be name=value, comma-separated,"
        " and URL-encoded"
    )
    record.args = ()
    return True


def resource(service: str, instance: str | None = None) -> "Resource":
    """Return the sender's resource: the environment's attributes, and these names where it has none."""
    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource  # noqa: PLC0415 of an extra

    named = Resource.create()
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    # Otherwise the library says `unknown_service`.
    if not os.environ.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in attributes:
        named = named.merge(Resource({SERVICE_NAME: service}))
    if instance is not None and f"{SERVICE_INSTANCE_ID}=" not in attributes:
        named = named.merge(Resource({SERVICE_INSTANCE_ID: instance}))
    return named


def only_failures(exporter: object) -> None:
    """Make an exporter log what it gives up, and not each retry."""
    logging.getLogger(type(exporter).__module__).setLevel(logging.ERROR)
