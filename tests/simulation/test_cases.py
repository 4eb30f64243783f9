"""The histories have in them whatever a sender is known to do, so each of its cases is judged in whatever goes wrong.

Looks at the plans alone: as many as `make test-fast` runs.
"""

from collections import Counter, defaultdict
from datetime import datetime
from itertools import product
from typing import Any

import pytest

from simulation.plan import Arrival, plan_of, told_by
from support import moments
from support.join_cases import at
from support.received import is_partial, version
from support.reference import fold
from support.spellings import SPELLINGS

HISTORIES = 200
Cases = Counter[str]

#: What each value is that somebody has spelled. True is 1 for a dict, so kinds are told apart.
_SPELLED = {
    (type(value), value): one.name
    for one, second in product(SPELLINGS, range(100))
    for value in [one.spell(datetime.fromisoformat(at(second)))]
}
NAMED = [
    *(f"{place}: {one}" for place in ("status", "updated_at") for one in SPELLINGS),
    *("a row with more status keys is older by updated_at", "a status is taken back", "a status without an instant"),
    *("superseded, of 2", "superseded, of 3", "a receipt comes after its message is superseded"),
    *("deleted: messages", "deleted: conversations", "an event comes after the delete of its row"),
    *("a message of another organization", "a message of another organization, before the conversation's row"),
    *("scheduled", "reaction", "archived", "back from the archive"),
    *(f"failed, errors: {shape}" for shape in ("objects", "texts", "list of nulls", "null", "none")),
    "failed, error alone",
]


@pytest.fixture(scope="module")
def cases() -> Cases:
    found = Cases()
    for seed in range(HISTORIES):
        arrivals = [one for one in plan_of(seed).arrivals if one.event and not one.poison]
        of_rows(found, arrivals)
        of_states(found, arrivals)
        of_order(found, arrivals)
    return found


@pytest.mark.parametrize("case", NAMED)
def test_histories_have_each_case(cases: Cases, case: str) -> None:
    assert cases[case] > 0, cases


def of_rows(found: Cases, arrivals: list[Arrival]) -> None:
    """Count what single rows say."""
    for row in (one.event["data"] for one in arrivals if one.event):
        written = moments.read(row.get("updated_at"))[0]
        found[f"updated_at: {spelling(row.get('updated_at'))}"] += 1
        status = row["status"] if isinstance(row.get("status"), dict) else {}
        for name, value in status.items():
            if name != "errors":
                found[f"status: {spelling(value)}"] += 1
                found["a status is taken back"] += value is None
                odd = value is not None and moments.read(value)[0] is None
                found["a status without an instant"] += odd and written is not None
        if status.get("failed") is not None:
            found[f"failed, errors: {shape(status.get('errors', 'none'))}"] += 1
        found["failed, error alone"] += status.get("error") is not None and status.get("failed") is None


def of_states(found: Cases, arrivals: list[Arrival]) -> None:
    """Count what the judge makes of them."""
    messages, conversations, _ = fold(told_by(arrivals))
    came = {(one.entity, one.key): place for place, one in reversed(list(enumerate(arrivals)))}
    found["scheduled"] += sum(one["scheduled"] for one in messages.values())
    found["reaction"] += sum('"reaction"' in (one["content"] or "") for one in messages.values())
    found["archived"] += sum(one["archived"] for one in conversations.values())
    put_away = [one for one in conversations.values() if '"archived":"2026' in one["extra"].get("extra", "")]
    found["back from the archive"] += sum(not one["archived"] for one in put_away)
    for key, one in messages.items():
        home = conversations.get(one["conversation_id"], {"known": False})
        if home["known"] and len({home["organization_id"], one["organization_id"]} - {None}) == 2:
            found["a message of another organization"] += 1
            before = came["messages", key] < came["conversations", one["conversation_id"]]
            found["a message of another organization, before the conversation's row"] += before


def of_order(found: Cases, arrivals: list[Arrival]) -> None:
    """Count what several events tell together, in the order in which they come."""
    messages, conversations, _ = fold(one.event for one in arrivals if one.event)
    states = {"messages": messages, "conversations": conversations}
    told: dict[tuple[str, str], list[Any]] = defaultdict(list)
    ended: set[tuple[str, str]] = set()
    holders: dict[str, set[str]] = defaultdict(set)
    had: dict[str, set[str]] = defaultdict(set)
    for one in arrivals:
        row = one.entity, one.key
        assert one.event
        if one.event["action"] == "delete":
            ended.add(row)
            continue
        told[row].append(one.event)
        late = row in ended and one.key not in states.get(one.entity, row)
        found["an event comes after the delete of its row"] += late
        external_id = one.event["data"].get("external_id")
        if one.entity == "messages" and external_id is not None:
            holders[external_id].add(one.key)
            had[one.key].add(external_id)
        elif one.key not in messages and row not in ended and is_partial(one.event):
            rivals = {rival for name in had[one.key] for rival in holders[name]} - {one.key}
            found["a receipt comes after its message is superseded"] += bool(rivals & messages.keys())
    for entity, key in ended & told.keys():
        found[f"deleted: {entity}"] += key not in states.get(entity, [key])
    for keys in holders.values():
        gone = {key for key in keys if key not in messages and ("messages", key) not in ended}
        found[f"superseded, of {min(len(keys), 3)}"] += len(gone) > 0 and len(keys) > 1
    for (entity, _), events in told.items():
        if entity == "messages":
            versions = {version(event) for event in events if not is_partial(event)}
            found["a row with more status keys is older by updated_at"] += any(
                one[0] > other[0] and one[1] < other[1] for one, other in product(versions, versions)
            )


def spelling(value: Any) -> str:
    """Return how somebody has spelled an instant."""
    return _SPELLED.get((type(value), value if isinstance(value, str | int) else ""), "in another way")


def shape(errors: Any) -> str:
    """Return what the errors of a status are."""
    if not isinstance(errors, list):
        return "null" if errors is None else "none" if errors == "none" else "something else"
    return {dict: "objects", str: "texts", type(None): "list of nulls"}.get(type(errors[0]), "something else")
