"""Sends events to the running bridge, as any sender does, one after the other; for commands."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import TracebackType
from typing import Any, Self

import httpx

from openbsp.backoff import Backoff
from openbsp.bearer import bearer, hindrance

_TIMEOUT_S = 10.0
_FIRST_RETRY_S = 0.5
_LONGEST_RETRY_S = 5.0
#: How long an unavailable bridge is retried.
_PATIENCE_S = 30.0
_MOST_CHARACTERS = 300
#: Refusals before the bridge has looked at the event, whose cause passes.
_NOT_YET = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class StoppedError(Exception):
    """Nothing more can be sent: no bridge answers, or it rejects the token. `why` is without the address."""

    def __init__(self, url: str, why: str, *, refused: bool = False) -> None:
        """Set where and why; `refused`: it answers, and retrying would not help."""
        super().__init__(f"{url} {why}")
        self.why = why
        self.refused = refused


@dataclass(frozen=True, slots=True)
class Outcome:
    """The bridge's answer. `taken` says whether it has the event now; `text` is for people."""

    taken: bool
    disposition: str
    event_id: str | None
    text: str


class BridgeClient:
    """A connection to a bridge. A context manager."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        patience_s: float = _PATIENCE_S,
        sleep: Callable[[float], None] = time.sleep,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Connect to nothing yet. `url` is the bridge's base address."""
        self._url = f"{url.rstrip('/')}/webhooks"
        self._patience_s = patience_s
        self._sleep = sleep
        self._client = httpx.Client(
            headers={"Authorization": bearer(token), "Content-Type": "application/json"},
            timeout=_TIMEOUT_S,
            trust_env=False,
            transport=transport,
        )

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._client.close()

    def send(self, body: bytes, headers: Mapping[str, str] | None = None) -> Outcome:
        """Post a webhook, retrying while the bridge has no room for it. Raises StoppedError."""
        backoff = Backoff(_FIRST_RETRY_S, _LONGEST_RETRY_S)
        deadline = time.monotonic() + self._patience_s
        while True:
            after_s = 0.0
            try:
                answer = self._client.post(self._url, content=body, headers=headers)
            except httpx.InvalidURL as error:
                raise StoppedError(self._url, f"is not a valid address: {error}", refused=True) from None
            except httpx.HTTPError as error:
                why = f"cannot be reached: {hindrance(error)}"
            else:
                why = f"answers {answer.status_code}: {answer.text[:_MOST_CHARACTERS]}"
                if answer.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.NOT_FOUND}:
                    raise StoppedError(self._url, why, refused=True)
                if not (answer.is_server_error or answer.status_code in _NOT_YET):
                    return _outcome(answer)
                after_s = _retry_after_s(answer)
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                raise StoppedError(self._url, why)
            # Trap: an attempt without an answer may have been kept. Events are safe to repeat.
            self._sleep(min(max(backoff.next_s(), after_s), left_s))


def _retry_after_s(answer: httpx.Response) -> float:
    text = answer.headers.get("Retry-After", "")
    return float(text) if text.isdecimal() else 0.0


def _outcome(answer: httpx.Response) -> Outcome:
    try:
        said: Any = answer.json()
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {}
    event_id = said.get("event_id")
    if answer.status_code == HTTPStatus.ACCEPTED and "disposition" in said:
        return Outcome(taken=True, disposition=str(said["disposition"]), event_id=event_id, text="")
    reason = str(said.get("reason", answer.status_code))
    return Outcome(
        taken=False, disposition=reason, event_id=event_id, text=str(said.get("detail", ""))[:_MOST_CHARACTERS]
    )
