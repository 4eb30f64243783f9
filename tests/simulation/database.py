"""OpenBSP, simulated: the rows of its tables, what happens to them, and the webhooks that it sends of that.

What must come of a history is what stands in the rows in the end. Which of two webhooks is newer is asked nowhere: the
database knows in which order it has committed.
"""

from collections.abc import Callable, Iterable
from datetime import datetime
from random import Random
from typing import Any

from support.join_cases import Envelope, at
from support.spellings import SPELLINGS

Row = tuple[str, str]

_MICROSECONDS = 1_000_000
#: `at(0)` in microseconds since 1970.
_EPOCH = 1_778_025_600 * _MICROSECONDS + 1

#: Values of a status that are no instants, and instants that are far away.
ODD_VALUES: list[Any] = [
    "infinity",
    "yesterday",
    "",
    "2026-05-06T03:39:23",
    "0044-03-15T00:00:00+00:00 BC",
    "10000-01-01T00:00:00Z",
    1_778_038_740,
    True,
    {"at": "2026-05-06T03:39:23Z"},
    [None],
    "0001-01-01T00:00:00+00:00",
    "1969-12-31T23:59:59.999999Z",
    "2201-01-01T00:00:00.1234567Z",
    "9999-12-31T23:59:59.999999+00:00",
]
#: What can stand in a column of instants: nothing but texts, as PostgreSQL writes them.
ODD_INSTANTS = [value for value in ODD_VALUES if isinstance(value, str) and value not in {"", "yesterday"}]
#: More than a day after anything in a history is received.
_IN_DAYS = "2026-05-09T00:00:00+00:00"
#: What can stand in `errors` beside a failure.
ERRORS: list[Any] = [[{"code": 131_047}], ["gone"], [None], None]
REACTION = {"type": "text", "kind": "reaction", "text": "\U0001f600"}


class Database:
    """What OpenBSP has. `webhooks` are all that it has sent, in the order of its commits.

    Each has, beside what is sent, its place in that order (`commit`), and which rows are `gone` as it tells.
    """

    def __init__(self, random: Random) -> None:
        self.webhooks: list[Envelope] = []
        self._random = random
        self._rows: dict[Row, dict[str, Any]] = {}
        #: Rows that were deleted without a webhook, by their external id.
        self._ghosts: dict[str, list[Row]] = {}
        #: External ids that no row has any more, as the one that had it is deleted.
        self._free: list[str] = []
        self._second = 0

    def live(self, steps: int) -> None:
        """Have some conversations, and so many things happen."""
        for number in range(self._random.randint(1, 3)):
            columns = {"organization_id": "org", "service": self._random.choice(["whatsapp", "local"])}
            self._write("conversations", f"c{number}", status="open", name=None, contact_address="5215", **columns)
        for _ in range(steps):
            self._random.choice(_STEPS)(self)

    # What people do

    def _says(self, direction: str, **columns: Any) -> None:
        home = self._any("conversations")
        if home is None:
            return
        number = sum(entity == "messages" for entity, _ in self._rows) + len(self.webhooks)
        self._write(
            "messages",
            f"m{number}",
            **{
                "organization_id": "org",
                "conversation_id": home,
                "external_id": None,
                "direction": direction,
                "service": "whatsapp",
                "content": {"type": "text", "kind": "text", "text": f"message {number}"},
                "timestamp": at(self._second + 1),
                "status": {"pending": at(self._second + 1)},
            }
            | columns,
        )

    def _customer_says(self) -> None:
        self._says("incoming", external_id=f"y{len(self.webhooks)}")

    def _agent_says(self) -> None:
        self._says("outgoing")

    def _agent_notes(self) -> None:
        self._says("internal")

    def _somebody_reacts(self) -> None:
        text = self._random.choice(["\U0001f600", ""])
        self._says(self._random.choice(["incoming", "outgoing"]), content={**REACTION, "text": text})

    def _agent_schedules(self) -> None:
        self._says("outgoing", timestamp=self._random.choice([at(self._second + 3_600), _IN_DAYS]))

    def _clock_is_wrong(self) -> None:
        when = self._random.choice([*ODD_INSTANTS, _IN_DAYS, None])
        self._says(self._random.choice(["incoming", "outgoing"]), timestamp=when)

    def _agent_edits(self) -> None:
        """Let the transaction have begun before another one that commits first."""
        key = self._any("messages")
        if key is None:
            return
        began = self._second + 1
        if self._random.random() < 0.5:
            self._second += 1
            self._write("messages", key, status={"typing": at(self._second)})
        edited = {"type": "text", "kind": "text", "text": f"edited at {began}"}
        self._write("messages", key, began=began, content=edited, status={f"edited{began}": at(began)})

    def _agent_reads(self) -> None:
        self._reaches(self._any("messages", direction="incoming"), "read")

    def _agent_archives(self) -> None:
        when = self._random.choice([at(self._second + 1), at(self._second + 1), at(1), _IN_DAYS, None, *ODD_VALUES])
        self._changes_conversation(extra={"archived": when, "draft": "x"})

    def _agent_pauses(self) -> None:
        self._changes_conversation(extra={"paused": at(self._second + 1)})

    def _agent_closes(self) -> None:
        self._changes_conversation(status=self._random.choice(["open", "closed"]))

    def _changes_conversation(self, **columns: Any) -> None:
        key = self._any("conversations")
        if key is not None:
            self._write("conversations", key, **columns)

    def _member_deletes(self) -> None:
        """Let what is in a conversation go with it; the webhooks of its messages may be missing."""
        entity = self._random.choice(["messages", "messages", "conversations"])
        key = self._any(entity)
        if key is None:
            return
        inside = [row for row, columns in self._rows.items() if columns.get("conversation_id") == key]
        deleted = [self._rows[row] for row in ((entity, key), *inside)]
        self._free += [row["external_id"] for row in deleted if row.get("external_id") is not None]
        self._send(entity, "delete", {"id": key, "organization_id": "org"}, gone=[(entity, key), *inside])
        del self._rows[entity, key]
        for row in inside:
            columns = {"id": row[1], "organization_id": "org", "conversation_id": key}
            if self._random.random() < 0.5:
                self._send("messages", "delete", columns, gone=[row])
            del self._rows[row]

    # What the platform does

    def _dispatches(self) -> None:
        key = self._any("messages", direction="outgoing", external_id=None)
        if key is not None:
            external_id = f"x{key}"
            if self._random.random() < 0.3:
                self._races(key, external_id)
            else:
                self._write("messages", key, external_id=external_id, status={"accepted": at(self._second + 1)})

    def _races(self, key: str, external_id: str) -> None:
        """Let the service's receipt come before the external id is stored: there is a second row for a while."""
        ghost, home = f"ghost-{key}", self._rows["messages", key]["conversation_id"]
        receipt = {"sent": at(self._second + 1)}
        columns = {"organization_id": "org", "conversation_id": home, "external_id": external_id, "content": {}}
        self._write(
            "messages", ghost, direction="outgoing", service="whatsapp", status=receipt, timestamp=None, **columns
        )
        if self._random.random() < 0.5:
            receipt["delivered"] = at(self._second + 1)
            self._write("messages", ghost, status=receipt)
        del self._rows["messages", ghost]
        self._ghosts[external_id] = [("messages", ghost)]
        accepted = {"accepted": at(self._second + 1)}
        self._write("messages", key, external_id=external_id, status=receipt | accepted)

    def _service_comes_back(self) -> None:
        """Let the service tell of a message that somebody has deleted: it is a row again, which knows little of it."""
        if self._free and self._any("conversations") is not None:
            external_id = self._free.pop(self._random.randrange(len(self._free)))
            status = {name: at(self._second + 1) for name in self._random.choice([["delivered"], ["sent", "read"], []])}
            self._says(self._random.choice(["incoming", "outgoing"]), external_id=external_id, status=status)

    def _is_told(self) -> None:
        sent = [key for key in self._keys("messages", direction="outgoing") if self._of(key)["external_id"] is not None]
        if sent:
            self._reaches(self._random.choice(sent), self._random.choice(["sent", "delivered", "read"]))

    def _fails(self) -> None:
        key = self._any("messages", direction="outgoing")
        if key is not None:
            errors = self._random.choice(ERRORS)
            if self._random.random() < 0.5:
                self._reaches(key, "failed")
            self._write("messages", key, status={"failed": at(self._second + 1), "errors": errors})

    def _cannot_load(self) -> None:
        key = self._any("messages", direction="incoming")
        if key is not None:
            self._write("messages", key, status={"error": "media download failed"})

    def _connector_is_odd(self) -> None:
        name = self._random.choice(["sent", "delivered", "read", "failed", "typing"])
        key = self._any("messages")
        if key is not None:
            now = datetime.fromisoformat(at(self._second + 1))
            value = self._random.choice([*ODD_VALUES, *(one.spell(now) for one in SPELLINGS)])
            self._write("messages", key, status={name: value})

    def _is_taken_back(self) -> None:
        keys = [key for key in self._keys("messages") if self._of(key)["status"]]
        if keys:
            key = self._random.choice(keys)
            self._write("messages", key, status={self._random.choice(list(self._of(key)["status"])): None})

    def _reaches(self, key: str | None, status: str) -> None:
        if key is not None:
            self._write("messages", key, status={status: at(self._second + 1)})

    # Rows

    def _of(self, key: str) -> dict[str, Any]:
        return self._rows["messages", key]

    def _keys(self, entity: str, **columns: Any) -> list[str]:
        return [
            key
            for (name, key), row in self._rows.items()
            if name == entity and all(row[column] == value for column, value in columns.items())
        ]

    def _any(self, entity: str, **columns: Any) -> str | None:
        keys = self._keys(entity, **columns)
        return self._random.choice(keys) if keys else None

    def _write(self, entity: str, key: str, *, began: int | None = None, **columns: Any) -> None:
        """Insert or update a row, in a transaction that began at a second (None: now). A message's status merges."""
        self._second += 1
        written = at(self._second if began is None else began)
        known = self._rows.get((entity, key))
        row = {"id": key, "created_at": written} if known is None else dict(known)
        if known is not None and entity == "messages" and "status" in columns:
            columns["status"] = known["status"] | columns["status"]
        self._rows[entity, key] = row = row | columns | {"updated_at": written}
        gone = self._ghosts.get(row.get("external_id") or "", [])
        self._send(entity, "insert" if known is None else "update", dict(row), gone)

    def _send(self, entity: str, action: str, data: dict[str, Any], gone: list[Row]) -> None:
        received_at = _EPOCH + self._second * _MICROSECONDS + self._random.randrange(5 * _MICROSECONDS)
        event = {"entity": entity, "action": action, "data": data, "received_at": received_at}
        self.webhooks.append(event | {"commit": len(self.webhooks), "gone": gone})


_STEPS: list[Callable[[Database], None]] = [
    *[Database._customer_says, Database._agent_says, Database._dispatches, Database._is_told] * 3,
    Database._agent_notes,
    Database._somebody_reacts,
    Database._somebody_reacts,
    Database._agent_schedules,
    Database._agent_schedules,
    Database._clock_is_wrong,
    Database._clock_is_wrong,
    Database._agent_edits,
    Database._agent_reads,
    Database._agent_archives,
    Database._agent_archives,
    Database._agent_pauses,
    Database._agent_closes,
    *[Database._member_deletes, Database._service_comes_back] * 2,
    Database._fails,
    Database._cannot_load,
    Database._connector_is_odd,
    Database._connector_is_odd,
    Database._is_taken_back,
]


def lived(random: Random) -> list[Envelope]:
    """Return the webhooks of a database in which something has happened."""
    database = Database(random)
    database.live(random.randint(4, 24))
    return database.webhooks


def rows_of(webhooks: Iterable[Envelope]) -> list[Envelope]:
    """Return what stands in the rows that the database has, an event for each, as far as these webhooks tell of it.

    Whatever has come of a row before is not asked, but for when the last of it was received.
    """
    last: dict[Row, Envelope] = {}
    received: dict[Row, int] = {}
    gone: set[Row] = set()
    for webhook in webhooks:
        row = webhook["entity"], webhook["data"]["id"]
        gone.update(webhook["gone"])
        if webhook["action"] != "delete":
            received[row] = max(webhook["received_at"], received.get(row, 0))
            if row not in last or webhook["commit"] > last[row]["commit"]:
                last[row] = webhook
    return [one | {"received_at": received[row]} for row, one in last.items() if row not in gone]
