"""The judge: what a set of events adds up to, said as plainly as docs/design.md does. Imports nothing of the project.

Takes bodies of webhooks with numbers as int or Decimal, and `received_at` if it is known; instants are microseconds
since 1970, absent fields None.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterable
from decimal import Decimal
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from support.received import (
    INSTANTS,
    JSONS,
    NEVER,
    NULL,
    TEXT,
    TEXTS,
    Event,
    Version,
    column,
    gist,
    instant,
    is_partial,
    member,
    newest,
    version,
    winners,
)

RANKS = ["pending", "held_for_quality_assessment", "accepted", "sent", "failed", "delivered", "read", "deleted"]
OTHERS = ["error", "typing", "edited", "preprocessing", "preprocessed"]
CHANGES_PER_ROW = 64
DAY = 24 * 60 * 60 * 1_000_000
#: The end of the year 9999, later than which no instant is. When events are received of which nobody says when.
LAST = 253_402_300_799_999_999
Fields = dict[str, Any]
#: When the first organization has claimed an id, and which one.
Claim = tuple[int, str] | None


def fold(events: Iterable[Event]) -> tuple[dict[str, Fields], dict[str, Fields], dict[str, tuple[str, str]]]:
    """Return MessageStates by id, ConversationStates by id, (message id, status) by id of the StatusChange.

    Only those of rows that exist: neither deleted nor superseded.
    """
    told: dict[str, dict[Any, list[Event]]] = {entity: defaultdict(list) for entity in TEXTS}
    deletes: dict[str, dict[Any, list[Event]]] = {entity: defaultdict(list) for entity in TEXTS}
    for event in events:
        kind = deletes if event["action"] == "delete" else told
        kind[event["entity"]][id_of(event)].append(event)

    for key, orders in deletes["conversations"].items():
        deletes["conversations"][key] = by_its_owner(orders, told["conversations"].get(key, []))
    gone = superseded(told["messages"], deletes)
    members: dict[str, list[tuple[Fields, list[Event], Claim]]] = defaultdict(list)
    messages = {}
    for key, all_of_it in told["messages"].items():
        own = heard(all_of_it, owner(all_of_it))
        orders = deletes["messages"].get(key, [])
        left = still_there(own, deletes["conversations"])
        if own and key not in gone and not concern(orders, own) and left:
            messages[key] = state = message(key, left, own)
            if state["conversation_id"] is not None:
                members[state["conversation_id"]].append((state, own, entering(state, own, claim(all_of_it))))
    conversations = {}
    for key in told["conversations"].keys() | members.keys():
        rows = told["conversations"].get(key, [])
        whose = owner_of_conversation(rows, members[key])
        rows = heard(rows, whose)
        about = rows or [event for _, own, _ in members[key] for event in own]
        if about and not concern(deletes["conversations"].get(key, []), about):
            conversations[key] = state = conversation(key, rows, members[key], whose)
            state["contact"] = contact(state, told, deletes) if rows else None
    pairs = [
        (state["id"], status)
        for everybody in members.values()
        for state, own, _ in everybody
        for event in own
        for status in announced(event["data"])
    ]
    return messages, conversations, {status_change_id(*pair): pair for pair in pairs}


def id_of(event: Event) -> Any:
    """Return what identifies a row: its id, or of an address what it is the address of."""
    row = event["data"]
    return (row["organization_id"], row["service"], row["address"]) if is_address(event) else row["id"]


def is_address(event: Event) -> bool:
    """Return whether it is about an address, which has no id."""
    return bool(event["entity"] == "contacts_addresses")


def contact(
    state: Fields, told: dict[str, dict[Any, list[Event]]], deletes: dict[str, dict[Any, list[Event]]]
) -> Fields | None:
    """Return the contact that a conversation shows: of the row of its address, with the name of the contact's row.

    Only rows of an address count that are newer than its last delete.
    """
    where = tuple(state[name] for name in ("organization_id", "service", "contact_address"))
    orders = deletes["contacts_addresses"].get(where, [])
    gone = max((order.get("received_at", LAST) for order in orders), default=NEVER)
    rows = [event for event in told["contacts_addresses"].get(where, []) if version(event)[1] > gone or gone == NEVER]
    if not all(where) or not rows:
        return None
    found = latest_text(rows, "contact_id", lambda value: value)
    at_service = latest_text(rows, "extra", lambda value: value.get("name") if isinstance(value, dict) else None)
    own = told["contacts"].get(found, [])
    whose = owner(own)
    own = heard(own, whose) if whose == where[0] else []
    orders = by_its_owner(deletes["contacts"].get(found, []), told["contacts"].get(found, []))
    name = latest_text(own, "name", lambda value: value) if own and not concern(orders, own) else None
    return {"id": found or None, "name": (name or at_service or "")[:280] or None, "address": where[2]}


def latest_text(rows: list[Event], name: str, read: Any) -> Any:
    """Return what the newest row says in a column, None if that is no text; of equally new ones the last of texts."""
    values = [(event, read(event["data"][name])) for event in rows if name in event["data"]]
    found = winners((name, False, version(event), TEXT if is_text(one) else NULL, one) for event, one in values)
    return found[name][2] if name in found and found[name][1] == TEXT else None


def is_trusted(event: Event) -> bool:
    """Return whether the event's writer may tell of any organization."""
    return event.get("organizations") is None


def by_its_owner(orders: list[Event], rows: list[Event]) -> list[Event]:
    """Return deletes of a row; those of an organization that trusted writers have named are as good as trusted ones."""
    named = organizations([event for event in rows if is_trusted(event)])
    return [
        order | {"organizations": None} if order["data"].get("organization_id") in named else order for order in orders
    ]


def heard(own: list[Event], organization: str | None) -> list[Event]:
    """Return what counts of what was told of a row that is an organization's: whose writer may tell of that."""
    return [event for event in own if is_trusted(event) or organization in event["organizations"]]


def owner(own: list[Event]) -> str | None:
    """Return whose a row is: trusted writers have named that organization, or it was the first to claim its id."""
    trusted = columns(own[0]["entity"], "", [event for event in own if is_trusted(event)]) if own else {}
    if trusted.get("organization_id") is not None:
        return trusted["organization_id"]
    first = claim(own)
    return None if first is None else first[1]


def owner_of_conversation(rows: list[Event], members: list[tuple[Fields, list[Event], Claim]]) -> str | None:
    """Return whose a conversation is: as `owner`, but while trusted writers name none its messages count as well.

    Of those of which trusted writers say whose they are, the newest; of all others, the first that came into it.
    """
    named = columns("conversations", "", [event for event in rows if is_trusted(event)])["organization_id"]
    if named is not None:
        return named
    trusted = [state for state, _, claimed in members if claimed is None and state["organization_id"] is not None]
    if trusted:
        return max(trusted, key=order)["organization_id"]
    claims = [claimed for _, _, claimed in members] + [claim(rows)]
    return min((claimed for claimed in claims if claimed is not None), default=(0, None))[1]


def claim(own: list[Event]) -> Claim:
    """Return when the first organization has claimed the id, None if trusted writers say whose it is."""
    if not own or columns(own[0]["entity"], "", [one for one in own if is_trusted(one)])["organization_id"] is not None:
        return None
    told = [event for event in own if not is_trusted(event) and is_text(event["data"].get("organization_id"))]
    return min(((event.get("received_at", LAST), event["data"]["organization_id"]) for event in told), default=None)


def entering(state: Fields, own: list[Event], claimed: Claim) -> Claim:
    """Return when somebody who may tell of a message first said that it is in its conversation, and whose it is."""
    if claimed is None:
        return None
    rows = [
        event
        for event in own
        if not is_trusted(event) and event["data"].get("conversation_id") == state["conversation_id"]
    ]
    return min((event.get("received_at", LAST) for event in rows), default=claimed[0]), claimed[1]


def still_there(own: list[Event], deletes: dict[str, list[Event]]) -> list[Event]:
    """Return what of a message's rows is left after conversations were deleted in which it was.

    If it was in one, nothing counts but whole rows newer than the last one that says so, if they say where it is.
    """
    at = {event["data"]["conversation_id"] for event in own if is_text(event["data"].get("conversation_id"))}
    gone = {name for name in at if concern(deletes.get(name, []), own)}
    if not organizations(own):
        return [] if gone and columns("messages", "", own)["conversation_id"] in gone else own
    if not gone:
        return own
    last = max(version(event) for event in own for name in gone if event["data"].get("conversation_id") == name)
    newer = [event for event in own if not is_partial(event) and version(event) > last]
    return newer if any(is_text(event["data"].get("conversation_id")) for event in newer) else []


def is_text(value: Any) -> bool:
    """Return whether a column names something."""
    return isinstance(value, str)


def organizations(own: list[Event]) -> set[str]:
    """Return the organizations that any of the rows names."""
    return {event["data"]["organization_id"] for event in own if is_text(event["data"].get("organization_id"))}


def concern(deletes: list[Event], own: list[Event]) -> bool:
    """Return whether one of the deletes is about these rows: an organization cannot delete what is another's."""
    named = organizations(own)
    return any(
        order["data"].get("organization_id") in named
        or (is_trusted(order) and (not is_text(order["data"].get("organization_id")) or not named))
        for order in deletes
    )


def superseded(told: dict[str, list[Event]], deletes: dict[str, dict[Any, list[Event]]]) -> set[str]:
    """Return the messages of which a newer one has had the same external id in the organization whose they are.

    Whoever claims a message has its external ids among the own ones, and cannot supersede those of others. A message
    that was created after the newest row of one that is deleted is newer than that, and than all that were before.
    """
    holders: dict[tuple[str, str], dict[str, list[Event]]] = defaultdict(dict)
    for key, everything in told.items():
        for organization in organizations(everything):
            own = heard(everything, organization)
            for name in {event["data"]["external_id"] for event in own if is_text(event["data"].get("external_id"))}:
                holders[organization, name][key] = own
    gone = set()
    for (organization, _), rows in holders.items():
        ended = {key for key, own in rows.items() if is_ended(key, own, organization, told[key], deletes)}
        ranks = {key: (era(key, rows, ended), age(own), key) for key, own in rows.items()}
        for key in rows.keys() - {max(ranks, key=lambda key: ranks[key])}:
            if columns("messages", "", heard(told[key], owner(told[key])))["organization_id"] == organization:
                gone.add(key)
    return gone


def is_ended(
    key: str, own: list[Event], organization: str, everything: list[Event], deletes: dict[str, dict[Any, list[Event]]]
) -> bool:
    """Return whether a message, or a conversation in which it was, is deleted, as an organization hears of it."""
    orders = heard(by_its_owner(deletes["messages"].get(key, []), everything), organization)
    at = {event["data"]["conversation_id"] for event in own if is_text(event["data"].get("conversation_id"))}
    return concern(orders, own) or any(concern(deletes["conversations"].get(name, []), own) for name in at)


def era(key: str, rows: dict[str, list[Event]], ended: set[str]) -> int:
    """Return when the last of the others that are deleted was told of, before a message was created."""
    created = [instant(event["data"].get("created_at")) for event in rows[key]]
    created_at = max((at for at in created if at is not None), default=NEVER)
    last = [max(age(rows[other])[1], NEVER + 1) for other in ended - {key}]
    return max((at for at in last if at < created_at), default=NEVER)


def age(own: list[Event]) -> Version:
    """Return the version of a message: the number of keys that its status ever had, the instant of its newest row.

    A whole row that lacks one of those keys is not the newest, so its instant says nothing.
    """
    keys = {name for event in own if isinstance(event["data"].get("status"), dict) for name in event["data"]["status"]}
    whole = max((version(event) for event in own if not is_partial(event)), default=(-1, NEVER, False))
    told = [version(event)[1:] for event in own if is_partial(event)]
    told += [whole[1:]] if whole[0] == len(keys) else []
    return len(keys), *max(told, default=(NEVER, False))


def announced(row: Fields) -> list[str]:
    """Return the keys of the row's status of which somebody hears: a few, should there be thousands."""
    status = row.get("status") if isinstance(row.get("status"), dict) else None
    names = [name for name, value in (status or {}).items() if name != "errors" and value is not None]
    known = RANKS + OTHERS
    return sorted(names, key=lambda name: (known.index(name) if name in known else 99, name))[:CHANGES_PER_ROW]


def status_change_id(message_id: str, status: str) -> str:
    """Return the id that every StatusChange of the message to that status has."""
    name = f"status-change\n{len(status.encode())}\n{status}\n{message_id}"
    return str(uuid5(uuid5(NAMESPACE_OID, "openbsp-stream-bridge"), name))


def columns(entity: str, key: str, own: list[Event], gone: Iterable[Event] = ()) -> Fields:
    """Return the columns' fields, the newest row wins; but the id is the same, and a message's status objects merge.

    Rows that have `gone` with a conversation still say whose their message is.
    """
    apart = {"id": str, "status": dict if entity == "messages" else ()}
    told = [(event, name) for event in own for name in event["data"]]
    told += [(event, "organization_id") for event in gone if "organization_id" in event["data"]]
    told = [(event, name) for event, name in told if not isinstance(event["data"][name], apart.get(name, ()))]
    nulls, instants, texts, extra, _ = newest(column(event, name) for event, name in told)
    fields: Fields = dict.fromkeys(TEXTS[entity] + INSTANTS[entity] + JSONS[entity])
    extra |= {name: exact for name, (_, exact) in instants.items() if exact}
    instants = {name: at for name, (at, _) in instants.items()}
    return fields | instants | texts | {"id": key, "extra": extra, "nulls": sorted(nulls)}


def message(key: str, own: list[Event], gone: list[Event]) -> Fields:
    """Merge the rows of one message into its MessageState; rows that have `gone` say whose it is."""
    told = [event for event in own if isinstance(event["data"].get("status"), dict)]
    members = [(event, name) for event in told for name in event["data"]["status"]]
    told_of = winners(member(event, name) for event, name in members)
    _, moments, _, odd, errors = newest(member(event, name) for event, name in members)
    odd |= {name: exact for name, (_, exact) in moments.items() if exact}
    moments = {name: at for name, (at, _) in moments.items()}
    for name in odd.keys() - moments.keys() - {"errors"}:  # present, but it does not say since when
        if (written := told_of[name][0][1]) != NEVER:
            moments[name] = written
    fields = columns("messages", key, own, gone)
    if moments or odd or errors:  # then a status that is null or no object says nothing
        fields["nulls"] = [name for name in fields["nulls"] if name != "status"]
        fields["extra"].pop("status", None)
    ranked = [name for name in RANKS for one in (name, "error" if name == "failed" else name) if one in moments | odd]
    fields |= {"status": moments, "status_extra": odd or None, "errors": errors.get("errors")}
    fields |= {"content": fields["content"] and fields["content"][1], "delivery_status": ranked[-1] if ranked else None}
    for name in ("sent", "delivered", "read"):
        at, since = moments.get(name), time(fields)
        fields[f"{name}_after_ms"] = None if at is None or since is None else (at - since) // 1000
    return fields | {"scheduled": is_scheduled(fields)}


def time(state: Fields) -> Any:
    """Return the message's time, None if it says none."""
    return state["created_at"] if state["timestamp"] is None else state["timestamp"]


def order(state: Fields) -> tuple[Any, str]:
    """Return what messages are ordered by."""
    return NEVER if time(state) is None else time(state), state["id"]


def is_scheduled(state: Fields) -> bool:
    """Return whether nobody has seen the message yet."""
    written = state["created_at"] if state["updated_at"] is None else state["updated_at"]
    waits = state["direction"] == "outgoing" and state["delivery_status"] in (None, "pending")
    return waits and None not in (state["timestamp"], written) and state["timestamp"] > written


def is_shown(state: Fields) -> bool:
    """Return whether the message can be the one that a conversation shows as its last."""
    reaction = gist(content(state))[1] == "reaction"
    return state["direction"] in ("incoming", "outgoing") and not reaction and not is_scheduled(state)


def is_said(state: Fields) -> bool:
    """Return whether somebody has said something with the message."""
    return is_shown(state) and (state["direction"], state["delivery_status"]) != ("outgoing", "failed")


def content(state: Fields) -> Any:
    """Return the message's content."""
    return json.loads(state["content"] or "null", parse_float=Decimal)


def conversation(
    key: str, rows: list[Event], everybody: list[tuple[Fields, list[Event], Claim]], whose: str | None
) -> Fields:
    """Merge the rows of one conversation, and count its messages, into its ConversationState."""
    fields = columns("conversations", key, rows)
    members = [
        (state, own) for state, own, _ in everybody if whose is None or state["organization_id"] in (None, whose)
    ]
    if not rows and members:
        newest_message = max((state for state, _ in members), key=order)
        fields |= {name: newest_message[name] for name in TEXTS["conversations"][:5]}
    states = [state for state, _ in members]
    said = sorted((state for state in states if is_said(state)), key=order)
    came, went = ([one for one in said if one["direction"] == name] for name in ("incoming", "outgoing"))
    came_at, went_at = ([time(one) for one in own if time(one) is not None] for own in (came, went))
    replies = [at for at in went_at if came_at and at >= came_at[0]]
    unanswered = [one for one in came if not went or order(one) > order(went[-1])]
    outgoing = [one for one in states if one["direction"] == "outgoing"]
    shown = [state for state in states if is_shown(state)]
    archived = is_archived(fields, came_at + went_at)
    active = [capped(time(state), own) for state, own in members if is_said(state)]
    active = [at for at in [*active, capped(fields["created_at"], rows)] if at is not None]
    window = fields["service"] in ("whatsapp", "instagram") and came_at != []
    return fields | {
        "known": bool(rows),
        "message_count": len(members),
        "incoming_count": sum(one["direction"] == "incoming" for one in states),
        "outgoing_count": len(outgoing),
        "internal_count": sum(one["direction"] == "internal" for one in states),
        "status_counts": dict(Counter(one["delivery_status"] or "none" for one in outgoing)),
        "unread_count": sum(
            one["direction"] == "incoming" and "read" not in one["status"] | (one["status_extra"] or {})
            for one in states
        ),
        "last_message": last_message(max(shown, key=order)) if shown else None,
        "first_incoming_at": came_at[0] if came_at else None,
        "last_incoming_at": came_at[-1] if came_at else None,
        "last_outgoing_at": went_at[-1] if went_at else None,
        "awaiting_reply": unanswered != [] and fields["status"] != "closed" and not archived,
        "unanswered_count": len(unanswered),
        "first_response_seconds": (replies[0] - came_at[0]) / 1_000_000 if replies else None,
        "reply_window_until": min(came_at[-1] + DAY, LAST) if window else None,
        "archived": archived,
        "scheduled_count": sum(is_scheduled(one) for one in states),
        "failed_count": sum(one["delivery_status"] == "failed" for one in outgoing),
        "active_at": max(active) if active else None,
    }


def is_archived(fields: Fields, said_at: list[Any]) -> bool:
    """Return whether somebody has put the conversation away since the last thing that was said in it."""
    extra = json.loads(fields["extra"].get("extra", "null"), parse_float=Decimal)
    at = instant(extra.get("archived")) if isinstance(extra, dict) else None
    return at is not None and at >= max(said_at, default=at)


def capped(at: Any, own: list[Event]) -> Any:
    """Return an instant, but none later than a day after the row was last received."""
    received = [event.get("received_at") for event in own]
    return at if at is None or None in received else min(at, max(received) + DAY)


def last_message(state: Fields) -> Fields:
    """Return what a conversation shows of its last message."""
    fields = dict(zip(("type", "kind", "preview"), gist(content(state)), strict=True))
    same = {name: state[name] for name in ("direction", "delivery_status")}
    return {"message_id": state["id"], "timestamp": time(state)} | same | fields
