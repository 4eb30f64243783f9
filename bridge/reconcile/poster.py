"""Posts repairs to the bridge as webhooks, with the same limits, spool and receipts."""

import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, NamedTuple, Self

from avro import jsontext
from bridge.client import BridgeClient, StoppedError
from bridge.http.refusals import WRONG_ORGANIZATION
from bridge.http.webhook import RECONCILED_HEADER
from bridge.reconcile.errors import ReconcileError

_AT_ONCE = 8
_MARK = {RECONCILED_HEADER: "true"}


class Repair(NamedTuple):
    """A row to post again, or of a row that is gone the ids."""

    entity: str
    action: str
    row: dict[str, Any]


class Receipt(NamedTuple):
    """The bridge's answer: published, spooled, or the reason why not."""

    repair: Repair
    accepted: bool
    answer: str


class Poster:
    """Posts to one bridge. A context manager. Raises ReconcileError if the bridge does not accept repairs at all."""

    def __init__(self, url: str, token: str, *, patience_s: float, sleep: Callable[[float], None] = time.sleep) -> None:
        """Connect to nothing yet."""
        self._url = url
        self._client = BridgeClient(url, token, patience_s=patience_s, sleep=sleep)
        self._threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="repair")

    def __enter__(self) -> Self:
        """Return the poster."""
        self._client.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        self._threads.shutdown(cancel_futures=True)
        self._client.__exit__(kind, error, trace)

    def post(self, repairs: Iterable[Repair]) -> Iterator[Receipt]:
        """Post repairs, several at once, and yield the answers in their order."""
        yield from self._threads.map(self._post, repairs)

    def _post(self, repair: Repair) -> Receipt:
        body = jsontext.encode({"data": repair.row, "entity": repair.entity, "action": repair.action})
        try:
            outcome = self._client.send(body, _MARK)
        except StoppedError as error:
            setting = "RECONCILE_BRIDGE_TOKEN" if error.refused else "RECONCILE_BRIDGE_URL"
            raise ReconcileError(f"{self._url} takes no repairs: {error.why}; check {setting}") from None
        # Trap: a refusal of one row must not end the run. It has the id of the dead letter that the bridge keeps of it.
        refused = outcome.event_id is not None and outcome.disposition != WRONG_ORGANIZATION.code
        if outcome.taken or refused:
            return Receipt(repair, accepted=outcome.taken, answer=outcome.disposition)
        # A number is the status of an answer without a reason, so it is not from a bridge.
        is_bridge = not outcome.disposition.isdecimal()
        hint = "check RECONCILE_BRIDGE_TOKEN" if is_bridge else "is a bridge at RECONCILE_BRIDGE_URL?"
        raise ReconcileError(f"{self._url} answered {outcome.disposition}: {hint}")
