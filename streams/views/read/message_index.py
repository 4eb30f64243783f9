"""The index over the messages of a partition's conversations: by organization, in the order of their time.

20,000,000 messages have to fit, so each is one short byte string and nothing else: a listed message is read from the
table. Only failed messages, which are few and often asked for, have an order of their own.
"""

import heapq
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from sortedcontainers import SortedList

from openbsp.merge.registers import NEVER
from streams.state import contribution as contributions
from streams.state import status as statuses
from streams.state.contribution import Contribution
from streams.views.read.index import Position

#: The delivery status of messages that have none.
NONE = "none"
#: Values of `status`, lowest rank first.
STATUSES = (NONE, *statuses.RANKS)

_FAILED = "failed"

_OFFSET = 2**63
_TIME_BYTES = 8
_UUID_BYTES = 16
_UUID_LENGTH = 36
_UUID, _TEXT = b"\x01", b"\x02"
#: Escapes of a zero byte in a text, and of its end.
_ZERO, _END = b"\x00\xff", b"\x00\x00"


class MessageFilter(NamedTuple):
    """Which messages to list; None: any. `organizations` None means all. `status` is one of STATUSES."""

    organizations: frozenset[str] | None = None
    status: str | None = None
    since: int | None = None

    def admits(self, part: Contribution) -> bool:
        """Return whether a message of this organization and time has the requested status."""
        return self.status is None or (contributions.delivery_status_of(part) or NONE) == self.status


class _Place(NamedTuple):
    """A message's position in the index. `failed`: it has, or had, a status that says so."""

    organization: str | None
    time: int
    failed: bool


class _Group:
    __slots__ = ("all", "failed")

    def __init__(self) -> None:
        self.all = SortedList()
        self.failed = SortedList()


class MessageIndex:
    """Holds the key of each message once, and of each failed one once more."""

    def __init__(self) -> None:
        """Start empty, while the existing messages are still being added."""
        self._organizations: dict[str | None, _Group] = {}
        #: Changes since the start, by conversation and message: data read of them may be older. None: all are added.
        self._changed: set[tuple[str, str]] | None = set()

    def __len__(self) -> int:
        """Count the messages."""
        return sum(len(group.all) for group in self._organizations.values())

    def stored(self, conversation_id: str, message_id: str, part: Contribution) -> None:
        """Add a message that existed at the takeover."""
        assert self._changed is not None  # noqa: S101 nothing is added twice
        if (conversation_id, message_id) not in self._changed:
            self._put(conversation_id, message_id, None, _place(conversation_id, part))

    def complete(self) -> None:
        """Record that all existing messages are added."""
        self._changed = None

    def changed(
        self, conversation_id: str, message_id: str, old: Contribution | None, new: Contribution | None
    ) -> None:
        """Index a message as it is in the table now."""
        before, after = _place(conversation_id, old), _place(conversation_id, new)
        if before == after:
            return
        if self._changed is not None:
            self._changed.add((conversation_id, message_id))
        self._put(conversation_id, message_id, before, after)

    def descend(self, wanted: MessageFilter, below: bytes | None = None) -> Iterator[bytes]:
        """Yield the keys of all messages that may match, newest first, from below a key on.

        Messages that failed once are among the failed ones. The index must not change meanwhile.
        """
        names: Iterable[str | None] = self._organizations if wanted.organizations is None else wanted.organizations
        groups = [self._organizations[name] for name in names if name in self._organizations]
        least = None if wanted.since is None else _time(wanted.since)
        if least is not None and below is not None and below <= least:
            return iter(())
        runs = [
            (group.failed if wanted.status == _FAILED else group.all).irange(least, below, (True, False), reverse=True)
            for group in groups
        ]
        return runs[0] if len(runs) == 1 else heapq.merge(*runs, reverse=True)

    def _put(self, conversation_id: str, message_id: str, before: _Place | None, after: _Place | None) -> None:
        if before is not None and before.organization in self._organizations:
            group = self._organizations[before.organization]
            key = _key(before.time, message_id, conversation_id)
            group.all.discard(key)
            group.failed.discard(key)
            if not group.all:
                del self._organizations[before.organization]
        if after is not None:
            group = self._organizations.setdefault(after.organization, _Group())
            key = _key(after.time, message_id, conversation_id)
            group.all.add(key)
            if after.failed:
                group.failed.add(key)


def order_of(position: Position) -> bytes:
    """Return the beginning of the keys of the message at a position: they sort in the order of lists."""
    time, message_id = position
    return _time(time) + _packed(message_id)


def read_key(key: bytes) -> tuple[Position, str]:
    """Return the position of a message and the id of its conversation."""
    message_id, end = _unpacked(key, _TIME_BYTES)
    return (int.from_bytes(key[:_TIME_BYTES]) - _OFFSET, message_id), _unpacked(key, end)[0]


def _place(conversation_id: str, part: Contribution | None) -> _Place | None:
    if part is None or not contributions.belongs_to(part, conversation_id):
        return None
    time = contributions.time_of(part)
    failed = not (statuses.FAILURES.isdisjoint(part.status) and statuses.FAILURES.isdisjoint(part.partial_status))
    return _Place(contributions.organization_of(part), NEVER if time is None else time, failed)


def _key(time: int, message_id: str, conversation_id: str) -> bytes:
    return _time(time) + _packed(message_id) + _packed(conversation_id)


def _time(time: int) -> bytes:
    return (time + _OFFSET).to_bytes(_TIME_BYTES)


def _packed(text: str) -> bytes:
    """Return a text as self-delimiting bytes; a UUID, as OpenBSP's ids are, takes half the space."""
    if len(text) == _UUID_LENGTH and text.isascii():
        try:
            packed = bytes.fromhex(text.replace("-", ""))
        except ValueError:
            packed = b""
        if len(packed) == _UUID_BYTES and _uuid(packed) == text:
            return _UUID + packed
    return _TEXT + text.encode().replace(b"\x00", _ZERO) + _END


def _unpacked(key: bytes, start: int) -> tuple[str, int]:
    """Return the text that begins at an index, and its end."""
    begin = start + 1
    if key[start:begin] == _UUID:
        end = begin + _UUID_BYTES
        return _uuid(key[begin:end]), end
    end = key.index(_END, begin)
    return key[begin:end].replace(_ZERO, b"\x00").decode(), end + len(_END)


def _uuid(packed: bytes) -> str:
    text = packed.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"
