"""Rows of OpenBSP's tables over their life, and their webhooks, in both shapes that exist."""

from __future__ import annotations

import copy
import hashlib
import json
import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum
from typing import Any

Row = dict[str, Any]

_TEXT = "Is there a table for two tonight at eight or do you have anything later please tell me thank you"
#: Seconds that pass from one event of an organization to the next.
_STEP_S = (0.5, 30.0)
_RECEIPTS = ("sent", "delivered", "read")


class Shape(Enum):
    """The form of a webhook's `data`."""

    ROWS = "rows"
    """As the running code has it: always the whole row, with nulls; the text of a message is a string."""
    CHANGES = "changes"
    """As the documentation has it: an update holds only what changed, without the conversation's id; the text of a
    message is an object."""


@dataclass(frozen=True)
class Webhook:
    """One event: what OpenBSP posts after a row was inserted, updated or deleted."""

    entity: str
    action: str
    data: Row

    @property
    def body(self) -> bytes:
        """The request's body, as PostgreSQL's jsonb writes it: keys by length, then by bytes."""
        envelope = {"data": self.data, "entity": self.entity, "action": self.action}
        return json.dumps(_in_order(envelope), ensure_ascii=False).encode()


class Organization:
    """A customer of OpenBSP with one address, such as a telephone number, and a clock that its rows share.

    Ids are random, so tests can share a stack; with a `seed` (and a `start`) everything is the same each time.
    """

    def __init__(
        self,
        *,
        shape: Shape = Shape.ROWS,
        seed: int | None = None,
        start: datetime | None = None,
        service: str = "whatsapp",
        id: str | None = None,  # noqa: A002 the name of the column
    ) -> None:
        self.shape = shape
        self.service = service
        self._random = random.Random(seed)  # noqa: S311 not for secrets
        self._now = start or datetime.now(timezone.utc) - timedelta(days=1)
        self.id = self.new_id() if id is None else id
        self.address = self.new_number()

    def conversation(self, **columns: Any) -> Conversation:
        """Start a conversation with a new contact; `columns` override those of its row."""
        return Conversation(self, columns)

    def contact(self, name: str | None = None, **columns: Any) -> Contact:
        """Create a contact without an address; `columns` override those of the row."""
        return Contact(self, name, columns)

    def history(self, conversations: int = 1, messages: int = 4) -> list[Webhook]:
        """Return the webhooks of some conversations of some messages each, in order."""
        told: list[Webhook] = []
        chats = [self.conversation() for _ in range(conversations)]
        told += [chat.insert for chat in chats]
        for number in range(messages):
            for chat in chats:
                message = chat.incoming() if number % 2 == 0 else chat.outgoing()
                told.append(message.insert)
                if message.direction == "outgoing":
                    told += [message.receipt(status) for status in _RECEIPTS[: self._random.randint(1, 3)]]
        return told

    def new_id(self) -> str:
        """Return a random UUID."""
        return str(uuid.UUID(int=self._random.getrandbits(128), version=4))

    def new_number(self) -> str:
        """Return a telephone number that is not in use anywhere."""
        return f"999{self._random.randrange(10**10):010}"

    def new_text(self) -> str:
        """Return some words."""
        return " ".join(self._random.sample(_TEXT.split(), self._random.randint(3, 9))).capitalize()

    def tick(self) -> str:
        """Advance the clock; return the instant as Postgres writes it."""
        self._now += timedelta(microseconds=round(self._random.uniform(*_STEP_S) * 1e6))
        return self._now.isoformat(timespec="microseconds")


def _in_order(value: Any) -> Any:
    if isinstance(value, Mapping):
        names = sorted(value, key=lambda name: (len(name.encode()), name.encode()))
        return {name: _in_order(value[name]) for name in names}
    return [_in_order(item) for item in value] if isinstance(value, list) else value


class _Stored:
    """A row with its first webhook; each change of it is another one."""

    entity: str
    insert: Webhook
    """The webhook of the insert."""
    _ids: tuple[str, ...]
    _key: tuple[str, ...] = ("id",)

    def __init__(self, organization: Organization, row: Row, documented: frozenset[str]) -> None:
        self.organization = organization
        self.row = row
        """The row as it is now."""
        whole = organization.shape is Shape.ROWS
        data = row if whole else {name: value for name, value in row.items() if name in documented}
        self.insert = Webhook(self.entity, "insert", copy.deepcopy(data))

    @property
    def id(self) -> str:
        """The row's id."""
        return str(self.row["id"])

    def update(self, **columns: Any) -> Webhook:
        """Change columns of the row and return the webhook."""
        changed = {**columns, "updated_at": columns.get("updated_at") or self.organization.tick()}
        self.row |= changed
        key = {name: self.row[name] for name in self._key}
        data = self.row if self.organization.shape is Shape.ROWS else {**key, **changed}
        return Webhook(self.entity, "update", copy.deepcopy(data))

    def delete(self) -> Webhook:
        """Remove the row. The webhook has the row as it was last, or its ids alone where updates have only changes."""
        ids = {name: self.row[name] for name in self._ids if self.row.get(name) is not None}
        data = self.row if self.organization.shape is Shape.ROWS else ids
        return Webhook(self.entity, "delete", copy.deepcopy(data))


class Contact(_Stored):
    """A row of `contacts`: a person, with a name."""

    entity = "contacts"
    _ids = ("id", "organization_id")

    def __init__(self, organization: Organization, name: str | None, columns: Mapping[str, Any]) -> None:
        now = organization.tick()
        row = {
            "organization_id": organization.id,
            "id": organization.new_id(),
            "name": name,
            "status": "active",
            "extra": None,
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        super().__init__(organization, row, frozenset(row))

    def at(self, where: Conversation | str, name: str | None = None, **columns: Any) -> ContactAddress:
        """Give the person an address, or that of a conversation; `name` is the one at the service."""
        address = where if isinstance(where, str) else str(where.row["contact_address"])
        extra = None if name is None else {"name": name}
        return ContactAddress(self.organization, address, {"contact_id": self.id, "extra": extra, **columns})


class ContactAddress(_Stored):
    """A row of `contacts_addresses`: an address of a contact. It has no column `id`."""

    entity = "contacts_addresses"
    _ids = _key = ("organization_id", "service", "address")

    def __init__(self, organization: Organization, address: str, columns: Mapping[str, Any]) -> None:
        now = organization.tick()
        row = {
            "organization_id": organization.id,
            "service": organization.service,
            "address": address,
            "contact_id": None,
            "status": "active",
            "extra": None,
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        super().__init__(organization, row, frozenset(row))

    @property
    def id(self) -> str:
        """The id that the bridge makes for the row, the key of its records."""
        of = json.dumps([self.row[name] for name in self._key], separators=(",", ":"), ensure_ascii=False)
        return f"{self.row['organization_id']}:{hashlib.sha256(of.encode()).hexdigest()}"


class Conversation(_Stored):
    """A row of `conversations`."""

    entity = "conversations"
    _ids = ("id", "organization_id")

    def __init__(self, organization: Organization, columns: Mapping[str, Any]) -> None:
        now = organization.tick()
        row = {
            "organization_id": organization.id,
            "id": organization.new_id(),
            "service": organization.service,
            "organization_address": organization.address,
            "contact_address": organization.new_number(),
            "group_address": None,
            "name": None,
            "extra": None,
            "status": "active" if organization.shape is Shape.ROWS else "open",
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        nulls = {name for name, value in row.items() if value is None}
        super().__init__(organization, row, frozenset(row.keys() - nulls))

    def incoming(self, text: str | None = None, **columns: Any) -> Message:
        """Receive a message from the contact."""
        return Message(self, "incoming", text, columns)

    def outgoing(self, text: str | None = None, **columns: Any) -> Message:
        """Send a message to the contact."""
        return Message(self, "outgoing", text, columns)

    def internal(self, text: str | None = None, **columns: Any) -> Message:
        """Write a note that the contact does not see."""
        return Message(self, "internal", text, columns)

    def close(self) -> Webhook:
        """End the conversation."""
        return self.update(status="closed")


class Message(_Stored):
    """A row of `messages`."""

    entity = "messages"
    _ids = ("id", "organization_id", "conversation_id", "external_id")

    def __init__(
        self, conversation: Conversation, direction: str, text: str | None, columns: Mapping[str, Any]
    ) -> None:
        organization = conversation.organization
        self.conversation = conversation
        now = organization.tick()
        text = organization.new_text() if text is None else text
        whole = organization.shape is Shape.ROWS
        row = {
            "organization_id": organization.id,
            "conversation_id": conversation.id,
            "id": organization.new_id(),
            "external_id": None
            if direction == "internal"
            else f"wamid.{organization.new_id().replace('-', '').upper()}",
            "direction": direction,
            "agent_id": None if direction == "incoming" else organization.new_id(),
            "contact_address": conversation.row["contact_address"],
            "service": organization.service,
            "organization_address": organization.address,
            "group_address": None,
            "thread_id": None,
            "content": {"version": "1", "type": "text", "kind": "text", "text": text}
            if whole
            else {"type": "text", "text": {"body": text}},
            "status": {"pending": now},
            "timestamp": now,
            "created_at": now,
            "updated_at": now,
            **columns,
        }
        documented = {"id", "conversation_id", "organization_id", "direction", "content", "status", "created_at"}
        documented |= {"agent_id"} if direction == "outgoing" else {"updated_at"}
        super().__init__(organization, row, frozenset(documented | columns.keys()))

    @property
    def direction(self) -> str:
        """incoming, outgoing or internal."""
        return str(self.row["direction"])

    def receipt(self, status: str, *, errors: list[dict[str, Any]] | None = None) -> Webhook:
        """Reach a status, such as sent, delivered, read or failed; OpenBSP merges it with the ones before."""
        now = self.organization.tick()
        merged = {**self.row["status"], status: now}
        if errors is not None:
            merged["errors"] = errors
        return self.update(status=merged, updated_at=now)
