"""What is counted and logged about each request: its outcome, never its content."""

from collections import Counter
from datetime import UTC, datetime

import msgspec

from avro.catalogue import ACTIONS
from avro.columns import ENTITIES
from bridge.metrics import Metrics
from openbsp.http.problems import Reason
from openbsp.log import FirstLines, LineWriter, as_text

_encode = msgspec.json.Encoder().encode

#: How much of each is logged: clients choose both.
_METHOD_LIMIT = 20
_PATH_LIMIT = 200


class RequestLine(msgspec.Struct, omit_defaults=True, gc=False, tag_field="event", tag="webhook.answered"):
    """The canonical line of a webhook."""

    time: str = ""
    status: int = 0
    outcome: str = ""
    duration_ms: float = -1.0
    token: str | None = None
    entity: str | None = None
    action: str | None = None
    event_id: str | None = None
    redriven: int | None = None
    detail: str | None = None
    client: str | None = None
    #: Requests like this one without a line of their own.
    not_logged: int | None = None


class RequestLog:
    """Counts requests and, if lines are wanted, writes them. The counts are plain numbers until `fold`."""

    def __init__(self, metrics: Metrics, lines: LineWriter | None) -> None:
        """Start with nothing counted."""
        self._metrics = metrics
        self._lines = lines
        self._counts: Counter[tuple[str | None, str | None, str]] = Counter()
        self._second = -1
        self._second_text = ""
        self._misdirected = FirstLines()

    def add(self, line: RequestLine, received_at: int, seconds: float) -> None:
        """Count a request that arrived at `received_at` (microseconds since the epoch) and took so many seconds."""
        self._counts[line.entity, line.action, line.outcome] += 1
        self._metrics.answer_seconds.observe(seconds)
        if self._lines is not None:
            second, micros = divmod(received_at, 1_000_000)
            if second != self._second:
                # Formatting a date costs more than the rest of a line.
                self._second = second
                self._second_text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
            line.time = f"{self._second_text}.{micros:06d}Z"
            line.duration_ms = round(seconds * 1000, 3)
            self._write(line)

    def add_misdirected(self, reason: Reason, method: str, path: str, client: str | None) -> None:
        """Count and log a request with an unknown path or method. A POST may be a lost webhook."""
        self._metrics.misdirected.labels("POST" if method == "POST" else "other").inc()
        unlogged = self._misdirected.next()
        if unlogged is None:
            return
        self._write(
            RequestLine(
                time=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                status=reason.status,
                outcome=reason.code,
                detail=f"{method[:_METHOD_LIMIT]} {path[:_PATH_LIMIT]}: webhooks go to POST /webhooks",
                client=client,
                not_logged=unlogged or None,
            )
        )

    def fold(self) -> None:
        """Bring the metrics up to date."""
        counts, self._counts = self._counts, Counter()
        for (entity, action, outcome), count in counts.items():
            # Names that a client made up must not become time series.
            known_entity = entity if entity is None or entity in ENTITIES else "other"
            known_action = action if action is None or action in ACTIONS else "other"
            self._metrics.webhooks.labels(known_entity or "", known_action or "", outcome).inc(count)

    def _write(self, line: RequestLine) -> None:
        if self._lines is not None:
            data = as_text(msgspec.to_builtins(line)).encode() if self._lines.text else _encode(line)
            self._lines.write(data + b"\n")
