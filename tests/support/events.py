"""Hypothesis strategies for webhooks as OpenBSP sends them, and as nobody should but somebody will.

Ids, instants and texts come from small pools, so that rows collide, versions tie and messages move.
"""

from decimal import Decimal
from itertools import pairwise
from typing import Any

from hypothesis import strategies as st

Row = dict[str, Any]
Envelope = dict[str, Any]

MESSAGE_IDS = ["m1", "m2", "m3", "wamid.HBg=/+ \u00e9?#\U0001f600", "\x00\n"]
CONVERSATION_IDS = ["c1", "c2", "m1", "c/\u00fc %2F"]

#: Few instants, some of them the same in another offset, before 1970, or a microsecond apart.
INSTANTS = [
    "2026-05-06T03:39:23+00:00",
    "2026-05-06T05:39:23+02:00",
    "2026-05-06 03:39:23.000001Z",
    "2026-05-06T03:39:24.999Z",
    "2026-05-06T03:39:25.123456+00",
    "2026-05-07T00:09:23-0330",
    "1969-12-31T23:59:59.999999Z",
    "0001-01-01T00:00:00Z",
]
#: When events are received, in microseconds: later than all that they tell, before, and in between.
RECEIVED = [253_402_300_799_999_999, 0, 1_778_038_763_000_000 - 86_400_000_000]
NO_INSTANTS = ["", "infinity", "2026-05-06", "2026-05-06T03:39:23", "2026-05-06T03:39:23.1234567Z", "a\u00e9"]

STATUS_KEYS = [
    "pending",
    "held_for_quality_assessment",
    "accepted",
    "sent",
    "failed",
    "delivered",
    "read",
    "deleted",
    "typing",
    "edited",
    "preprocessed",
]
ODD_STATUS_KEYS = ["errors", "bounced", "", "extra", "\u00e9"]

instants = st.sampled_from(INSTANTS)
texts = st.sampled_from(["", "a", "b", "A", "\u00e9", "\U0001f600", "null", "\uffff"])
json_values = st.recursive(
    st.sampled_from([None, True, False, 0, 1, -1, 2**70, Decimal("1.50"), Decimal("1E+400")]) | texts | instants,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=4,
)
anything = json_values | instants | st.sampled_from(NO_INSTANTS)

errors = st.lists(st.fixed_dictionaries({"code": st.sampled_from([131047, 131026]), "title": texts}), max_size=2)

#: As OpenBSP merges it: known keys with instants.
plain_status = st.dictionaries(st.sampled_from(STATUS_KEYS), instants, max_size=4)
#: With nulls, values that are no instants, keys that nobody has heard of, and errors of the wrong type.
odd_status = st.dictionaries(
    st.sampled_from(STATUS_KEYS[3:7] + ODD_STATUS_KEYS), st.one_of(instants, st.none(), errors, anything), max_size=5
)
status = st.one_of(
    plain_status,
    plain_status,
    st.builds(lambda told, found: told | {"errors": found}, plain_status, errors),
    odd_status,
)

content = st.one_of(
    st.just({}),
    st.builds(lambda text: {"type": "text", "kind": "text", "text": text}, texts | st.just("long " * 80)),
    st.builds(lambda text: {"type": "text", "text": {"body": text}}, texts | st.just("\u00e9" * 281)),
    st.builds(lambda kind, size: {"type": "file", "kind": kind, "file": {"size": size}}, texts, st.integers(0, 2)),
    st.builds(lambda text: {"type": "text", "kind": "reaction", "text": text}, texts),
    st.builds(lambda data: {"type": "data", "kind": "order", "data": data}, json_values),
    # Parts that are no texts must not hide the others.
    st.fixed_dictionaries(
        {}, optional={"type": anything, "kind": anything, "text": anything | st.just({"body": None}), "n": json_values}
    ),
    json_values,
)

#: Mostly one: what belongs to another organization belongs nowhere.
organization = st.sampled_from(["o", "o", "o", "p", ""])
external_ids = st.sampled_from(["w1", "w1", "w2", ""])

direction = st.sampled_from(["incoming", "incoming", "outgoing", "outgoing", "internal", "sideways"])

_MESSAGE_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "organization_id": organization,
    "conversation_id": st.sampled_from(CONVERSATION_IDS),
    "external_id": external_ids,
    "direction": direction,
    "agent_id": texts,
    "contact_address": texts,
    "service": st.sampled_from(["whatsapp", "instagram"]),
    "organization_address": texts,
    "group_address": texts,
    "thread_id": texts,
    "content": content,
    "status": status,
    "timestamp": instants,
    "created_at": instants,
    "updated_at": instants,
}
_CONVERSATION_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "organization_id": organization,
    "service": st.sampled_from(["whatsapp", "instagram"]),
    "organization_address": texts,
    "contact_address": texts,
    "group_address": texts,
    "name": texts,
    "extra": st.one_of(
        st.dictionaries(texts, json_values, max_size=2),
        st.builds(lambda at: {"archived": at, "pinned": None}, instants | st.none() | anything),
    ),
    "status": st.sampled_from(["open", "active", "closed", "Closed", ""]),
    "created_at": instants,
    "updated_at": instants,
}
#: Columns of releases to come, and names that mean something else in the events.
_UNKNOWN_COLUMNS = [
    "from",
    "wa_id",
    "nulls",
    "errors",
    "status_extra",
    "event_id",
    "known",
    "message_count",
    "",
    "\u00e9",
]
_OPTIONAL = ["agent_id", "group_address", "thread_id", "external_id", "name", "timestamp", "extra"]


def _whole(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Row]:
    """Return rows as the running code sends them: all columns, some null."""
    return st.fixed_dictionaries(
        {name: (values | st.none() if name in _OPTIONAL else values) for name, values in columns.items()}
    )


def _nasty(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Row]:
    """Return rows with any columns, known or not, each null or of the wrong type now and then."""
    known = {name: st.one_of(values, values, st.none(), anything) for name, values in columns.items()}
    return st.fixed_dictionaries({}, optional=known | dict.fromkeys(_UNKNOWN_COLUMNS, anything))


def _only(columns: dict[str, st.SearchStrategy[Any]], *names: str) -> st.SearchStrategy[Row]:
    return st.fixed_dictionaries({name: columns[name] for name in names})


def _documented_insert(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Row]:
    """Return what the documentation shows of an insert: some columns, no null, `updated_at` not always."""
    names = [name for name in columns if name not in {*_OPTIONAL, "updated_at"}]
    return st.fixed_dictionaries({name: columns[name] for name in names}, optional={"updated_at": instants})


def _rows(columns: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[Row]:
    return st.one_of(
        _whole(columns),
        _documented_insert(columns),
        _only(columns, "status", "updated_at"),
        _only(columns, "status", "updated_at"),
        _only(columns, "status"),
        _nasty(columns),
        _nasty(columns),
    )


def _envelopes(entity: str, ids: list[str], rows: st.SearchStrategy[Row]) -> st.SearchStrategy[Envelope]:
    return st.builds(
        lambda key, row, action, received_at: {
            "entity": entity,
            "action": action,
            "data": {"id": key, **row},
            "received_at": received_at,
        },
        st.sampled_from(ids),
        rows,
        st.sampled_from(["insert", "update"]),
        st.sampled_from(RECEIVED),
    )


def deletes(entity: str, ids: list[str]) -> st.SearchStrategy[Envelope]:
    """Return deletes of rows: ids and nothing else."""
    return st.builds(
        lambda key, told: {"entity": entity, "action": "delete", "data": {"id": key, **told}},
        st.sampled_from(ids),
        st.fixed_dictionaries({}, optional={"organization_id": organization}),
    )


message_events = _envelopes("messages", MESSAGE_IDS, _rows(_MESSAGE_COLUMNS))
conversation_events = _envelopes("conversations", CONVERSATION_IDS, _rows(_CONVERSATION_COLUMNS))

CONTACT_IDS = ["k1", "k2"]
_CONTACT_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "organization_id": organization,
    "name": texts | st.just("long " * 80),
    "extra": json_values,
    "created_at": instants,
    "updated_at": instants,
}
_ADDRESS_COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "contact_id": st.sampled_from([*CONTACT_IDS, *CONTACT_IDS, "nobody", None]),
    "extra": st.one_of(st.builds(lambda name: {"name": name, "n": 2**70}, texts | st.none()), st.none(), json_values),
    "created_at": instants,
    "updated_at": instants,
}
_addresses = st.fixed_dictionaries(
    {
        "organization_id": st.sampled_from(["o", "o", "o", "p"]),
        "service": st.sampled_from(["whatsapp", "whatsapp", "instagram"]),
        "address": st.sampled_from(["a", "a", "b"]),
    }
)
#: When deletes are received that do not delete all.
_BETWEEN = [1_778_038_763_500_000, 1_778_038_765_000_000]


@st.composite
def address_events(draw: st.DrawFn) -> Envelope:
    """Draw an event of an address: all columns, some of them, or a delete."""
    identity, action = draw(_addresses), draw(st.sampled_from(["insert", "update", "update", "delete"]))
    received_at = draw(st.sampled_from([*RECEIVED, *_BETWEEN]))
    columns = {} if action == "delete" else draw(st.fixed_dictionaries({}, optional=_ADDRESS_COLUMNS))
    if action != "delete" and draw(st.booleans()):
        columns = draw(_whole(_ADDRESS_COLUMNS))
    data = identity | columns
    return {"entity": "contacts_addresses", "action": action, "data": data, "received_at": received_at}


contact_events = st.one_of(
    *[
        _envelopes(
            "contacts",
            CONTACT_IDS,
            _whole(_CONTACT_COLUMNS) | _only(_CONTACT_COLUMNS, "name", "updated_at") | _only(_CONTACT_COLUMNS, "name"),
        )
    ]
    * 5,
    deletes("contacts", CONTACT_IDS),
)


@st.composite
def people(draw: st.DrawFn) -> list[Envelope]:
    """Draw a conversation, the address that it has, and the contact of that, each told now and then."""
    names = ["organization_id", "service", "contact_address", "name", "created_at", "updated_at"]
    rows = _whole({name: _CONVERSATION_COLUMNS[name] for name in names}).map(
        lambda row: row | {"organization_id": "o", "service": "whatsapp", "contact_address": "a"}
    )
    events = draw(st.lists(_envelopes("conversations", CONVERSATION_IDS[:2], rows), min_size=1, max_size=2))
    events += draw(st.lists(address_events(), min_size=1, max_size=4))
    return events + draw(st.lists(contact_events, max_size=4))


#: Events of one message, and of one conversation: every two of them meet.
events_of_a_message = _envelopes("messages", MESSAGE_IDS[:1], _rows(_MESSAGE_COLUMNS))
events_of_a_conversation = _envelopes("conversations", CONVERSATION_IDS[:1], _rows(_CONVERSATION_COLUMNS))


@st.composite
def histories(draw: st.DrawFn) -> list[Envelope]:
    """Draw a message as it lives: an insert, receipts in parts or in whole rows, perhaps edited, moved or orphaned."""
    key = draw(st.sampled_from(MESSAGE_IDS))
    row = {"id": key, **draw(_whole(_MESSAGE_COLUMNS))}
    grows = draw(st.booleans())
    events = [{"entity": "messages", "action": "insert", "data": row}]
    for _ in range(draw(st.integers(0, 4))):
        names = draw(st.sampled_from([("status",), ("status",), ("content",), ("conversation_id",), ("direction",)]))
        change = draw(_only(_MESSAGE_COLUMNS, "updated_at", *names))
        if draw(st.integers(0, 4)) == 0:
            change["conversation_id"] = draw(st.none() | anything)
        if grows and isinstance(row["status"], dict) and isinstance(change.get("status"), dict):
            # As OpenBSP does it: no key is ever dropped.
            row = row | change | {"status": row["status"] | change["status"]}
        else:
            row = row | change
        whole = draw(st.booleans())
        events.append({"entity": "messages", "action": "update", "data": row if whole else {"id": key, **change}})
    return events


@st.composite
def ghosts(draw: st.DrawFn) -> list[Envelope]:
    """Draw messages that get one external id: the real one late, the others from receipts that came too early."""
    real, *others = draw(st.lists(st.sampled_from(MESSAGE_IDS), min_size=2, max_size=3, unique=True))
    external_id = draw(external_ids)
    where = {
        "organization_id": "o",
        "conversation_id": draw(st.sampled_from(CONVERSATION_IDS)),
        "direction": "outgoing",
    }
    events = []

    def told(key: str, action: str, **more: Any) -> None:
        at = draw(instants)
        row = {"id": key, **where, "created_at": at, "updated_at": draw(instants), **more}
        events.append({"entity": "messages", "action": action, "data": row})

    status = draw(plain_status)
    told(real, "insert", external_id=None, content={"type": "text", "text": "a"}, status={"pending": draw(instants)})
    for other in others:
        told(other, "insert", external_id=external_id, content={}, status=status)
        for _ in range(draw(st.integers(0, 2))):
            told(other, "update", external_id=external_id, content={}, status=status | draw(plain_status))
    told(
        real,
        "update",
        external_id=external_id,
        content={"type": "text", "text": "b"},
        status=status | {"accepted": draw(instants)},
    )
    return events


single_events = st.one_of(
    message_events,
    conversation_events,
    message_events,
    conversation_events,
    deletes("messages", MESSAGE_IDS) | deletes("conversations", CONVERSATION_IDS),
    contact_events,
    address_events(),
)
event_sets = st.builds(
    lambda lives, single: [event for life in lives for event in life] + single,
    st.lists(st.one_of(histories(), histories(), ghosts(), people()), max_size=4),
    st.lists(single_events, max_size=6),
)


@st.composite
def told_by(draw: st.DrawFn, events: list[Envelope]) -> list[Envelope]:
    """Draw writers: some may tell of any organization, the others of some only, as the bridge lets them pass."""
    found = []
    for event in events:
        row = event["data"]
        named = row.get("organization_id")
        partial = event["action"] == "update" and row.get("conversation_id") is None
        choices: list[list[str] | None] = [None]
        if named in ("o", "p"):
            choices += [[named], [named]]
        elif named is None and partial:
            choices += [["o"], ["p"], ["o", "p"]]
        organizations = draw(st.sampled_from(choices))
        found.append(
            event
            if organizations is None
            else {**event, "organizations": organizations, "received_at": draw(st.sampled_from([1, 2, 3, *RECEIVED]))}
        )
    return found


#: Some events of all kinds, told by writers that may tell of any organization, or of some only.
claimed_event_sets = event_sets.flatmap(told_by)


@st.composite
def arrivals(draw: st.DrawFn, events: list[Envelope]) -> list[list[Envelope]]:
    """Draw a way in which the events may arrive: in any order, some more than once, in batches of any size."""
    repeated = draw(st.lists(st.sampled_from(events), max_size=4)) if events else []
    order = draw(st.permutations(events + repeated))
    cuts = sorted(draw(st.lists(st.integers(0, len(order)), max_size=5)))
    edges = [0, *cuts, len(order)]
    return [order[start:end] for start, end in pairwise(edges)]
