"""Repairs to the bridge: posted as webhooks are, so that they go the same way, with its limits, spool and receipts."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from types import TracebackType
from typing import Any, NamedTuple, Self

import httpx

from avro import jsontext
from bridge.http.webhook import PATH, RECONCILED_HEADER
from bridge.reconcile.errors import ReconcileError
from openbsp.backoff import Backoff

_AT_ONCE = 8
_TIMEOUT_S = 10.0
_FIRST_WAIT_S = 0.5
_LONGEST_WAIT_S = 30.0
#: The bridge looked at the body and keeps a dead letter of it, or of its ids.
_REFUSED = frozenset({HTTPStatus.BAD_REQUEST, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNPROCESSABLE_ENTITY})


class Repair(NamedTuple):
    """A row to be told once more, or of a row that is gone the ids."""

    entity: str
    action: str
    row: dict[str, Any]


class Receipt(NamedTuple):
    """The bridge's answer: published, spooled, or the reason why not."""

    repair: Repair
    accepted: bool
    answer: str


class Poster:
    """Posts to one bridge. A context manager. Raises ReconcileError if the bridge does not take repairs at all."""

    def __init__(self, url: str, token: str, *, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Connect to nothing yet."""
        self._url = url.rstrip("/") + PATH
        self._patience_s = patience_s
        self._sleep = sleep
        self._client = httpx.Client(
            headers={
                "Authorization": f"Bearer {token}",
                "Content-Type": "application/json",
                RECONCILED_HEADER: "true",
            },
            timeout=_TIMEOUT_S,
        )
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="repair")

    def __enter__(self) -> Self:
        """Return the poster."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._client.close()

    def post(self, repairs: Iterable[Repair]) -> Iterator[Receipt]:
        """Post repairs, some at once, and yield the answers in their order."""
        yield from self._threads.map(self._post, repairs)

    def _post(self, repair: Repair) -> Receipt:
        body = jsontext.encode({"data": repair.row, "entity": repair.entity, "action": repair.action})
        backoff = Backoff(_FIRST_WAIT_S, _LONGEST_WAIT_S)
        deadline = time.monotonic() + self._patience_s
        while True:
            why, after_s = self._attempt(repair, body)
            if isinstance(why, Receipt):
                return why
            wait_s = max(backoff.next_s(), after_s)
            if time.monotonic() + wait_s > deadline:
                raise ReconcileError(f"{self._url} takes no repairs: {why}")
            # Trap: an attempt without an answer may have been kept. Events are safe to repeat.
            self._sleep(wait_s)

    def _attempt(self, repair: Repair, body: bytes) -> tuple[Receipt | str, float]:
        """Return the receipt, or why there is none yet and how long the bridge asks to wait."""
        try:
            answer = self._client.post(self._url, content=body)
        except httpx.HTTPError as error:
            return f"{type(error).__name__}; check RECONCILE_BRIDGE_URL", 0.0
        content = _object(answer)
        reason = str(content.get("reason", ""))
        if answer.is_success and "event_id" in content:
            return Receipt(repair, accepted=True, answer=str(content.get("disposition"))), 0.0
        if answer.status_code in _REFUSED and reason:
            return Receipt(repair, accepted=False, answer=reason), 0.0
        if answer.is_server_error or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            after = answer.headers.get("Retry-After", "")
            return f"{answer.status_code} {reason}", float(after) if after.isdecimal() else 0.0
        hint = "check RECONCILE_BRIDGE_TOKEN" if reason else "is a bridge at RECONCILE_BRIDGE_URL?"
        raise ReconcileError(f"{self._url} answered {answer.status_code} {reason}: {hint}")


def _object(answer: httpx.Response) -> dict[str, Any]:
    try:
        content = answer.json()
    except ValueError:
        return {}
    return content if isinstance(content, dict) else {}
