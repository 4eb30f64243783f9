"""What traces and metrics in OpenTelemetry's form have in common. Needs the extra `otel`; see docs/tracing.md."""

import logging
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from openbsp.log import event

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

T = TypeVar("T")

#: For how long the end of a process waits for a collector. The library would try for 10 s and more.
FAREWELL_S = 2.0

_PROTOCOL = "http/protobuf"

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Signal:
    """One of the things that a collector takes: its name in messages, in variables and in the log."""

    name: str
    variable: str
    off: str


TRACES = Signal("traces", "TRACES", "tracing.off")
METRICS = Signal("metrics", "METRICS", "metrics.off")


def allowed(environment: Mapping[str, str]) -> bool:
    """Return whether nothing says that OpenTelemetry is switched off as a whole."""
    return environment.get("OTEL_SDK_DISABLED", "").strip().lower() != "true"


def unless_hindered(signal: Signal, make: Callable[[], T]) -> T | None:
    """Return what `make` makes; None, and a warning in the log, if it cannot be made.

    A process goes on without: webhooks are worth more, and variables OTEL_... are often set for a whole cluster.
    """
    off = event(signal.off)
    names = (f"OTEL_EXPORTER_OTLP_{signal.variable}_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
    protocol = next((os.environ[name] for name in names if os.environ.get(name)), _PROTOCOL)
    if protocol != _PROTOCOL:
        text = "%s are off: OTEL_EXPORTER_OTLP_PROTOCOL is %s, and only %s is supported"
        _log.warning(text, signal.name, protocol, _PROTOCOL, extra=off)
        return None
    # Trap: what it cannot use of OTEL_EXPORTER_OTLP_HEADERS the library would log as it is, and a token stands there.
    logging.getLogger("opentelemetry.util.re").addFilter(_without_value)
    try:
        return make()
    except ImportError:
        _log.warning("%s are off: a collector is set, but the extra `otel` is not installed", signal.name, extra=off)
    except ValueError as error:
        # The library's words about a variable that it cannot use.
        _log.warning("%s are off: a variable OTEL_... cannot be used: %s", signal.name, error, extra=off)
    return None


def _without_value(record: logging.LogRecord) -> bool:
    """Have the library say that a header cannot be used, but not which."""
    record.msg = (
        "a part of OTEL_EXPORTER_OTLP_HEADERS cannot be used, and is not sent: it is to be name=value, comma-separated,"
        " and URL-encoded"
    )
    record.args = ()
    return True


def resource(service: str, instance: str | None = None) -> "Resource":
    """Return who sends: what the environment says of it, and these names where it says nothing of them."""
    from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, Resource  # noqa: PLC0415 of an extra

    named = Resource.create()
    attributes = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    # Without a name of its own the library says `unknown_service`.
    if not os.environ.get("OTEL_SERVICE_NAME") and f"{SERVICE_NAME}=" not in attributes:
        named = named.merge(Resource({SERVICE_NAME: service}))
    if instance is not None and f"{SERVICE_INSTANCE_ID}=" not in attributes:
        named = named.merge(Resource({SERVICE_INSTANCE_ID: instance}))
    return named


def only_failures(exporter: object) -> None:
    """Have an exporter log what it gives up, and not each retry."""
    logging.getLogger(type(exporter).__module__).setLevel(logging.ERROR)
