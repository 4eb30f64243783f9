"""What a status change can tell of its message beside the status itself. Imports nothing of the project.

Who tells knows some of the events, at least one that names the status, so what is told depends on their order: `at` is
the instant that one of them gives the status, `previous` the highest of those that some of them give an earlier one,
and `errors` what one of them says. Why a message has failed is told again until it is told as it is in the end.
"""

import json
from collections import defaultdict
from collections.abc import Iterable
from decimal import Decimal

from support.received import NEVER, Event, instant, json_text, version
from support.reference import RANKS, Fields

FAILURES = ("failed", "error")


def contradictions(changes: Iterable[Fields], events: Iterable[Event], messages: dict[str, Fields]) -> list[str]:
    """Return a line for each status change, in the order in which they were told, that says what no events say.

    And for each failure of one of the `messages`, which are states, whose last change does not say why it is.
    """
    own, unsettled = _by_message(events)
    last: dict[tuple[str, str], Fields] = {}
    lines = []
    for change in changes:
        key = change["message_id"]
        last[key, change["status"]] = change
        if key in own:
            wrong = untrue(change, own[key], settled=key not in unsettled)
            lines += [f"status change {key!r} {change['status']!r}: {', '.join(wrong)}"] if wrong else []
    for (key, status), change in last.items():
        # Of one that has moved two partitions tell, and nobody knows which of them did so last.
        homes = {json_text(event["data"].get("conversation_id")) for event in own.get(key, [])} - {"null"}
        if status in FAILURES and key in messages and key not in unsettled and len(homes) == 1:
            errors = why(messages[key])
            if change["errors"] != errors:
                lines.append(f"{key!r} has failed for {change['errors']} instead of {errors}")
    return lines


def untrue(change: Fields, own: list[Event], *, settled: bool = False) -> list[str]:
    """Return what a status change tells that no part of the events of its message says.

    `settled`: none of them was taken back by a delete, or is a claim. Then, where they agree on every instant and none
    is null, `previous` is not lower than what the least telling one of those with this status says by itself.
    """
    this, at, rows = change["status"], change["at"], [event["data"] for event in own]
    times = {instant(row.get(name)) for row in rows for name in ("timestamp", "created_at")} - {None}
    moments = [_moments(event) for event in own]
    everything = {(key, moment) for told in moments for key, moment in told.items()}
    wrong = []
    since = {moment for key, moment in everything if key == this and moment is not None}
    if (this, None) in everything or not settled:
        since |= {*times, 0}
    if at not in since:
        wrong.append(f"at={at} of {sorted(since)}")
    earlier = _before(everything, this, at)
    if change["previous"] not in {None, *(name for _, name in earlier)}:
        wrong.append(f"previous={change['previous']} of {earlier}")
    taken_back = any(value is None for row in rows for key, value in _status(row).items() if key != "errors")
    if settled and not taken_back and len(everything) == len({key for key, _ in everything}):
        alone = [max(_before(told.items(), this, at), default=(-1, None)) for told in moments if this in told]
        if _rank(change["previous"]) < min(alone)[0]:
            wrong.append(f"previous={change['previous']} is lower than {min(alone)[1]}")
    if change["seconds_since_message"] not in {None, *((at - time) / 1_000_000 for time in times)}:
        wrong.append(f"seconds_since_message={change['seconds_since_message']}")
    if change["errors"] not in [None, *(errors for row in rows for errors in _errors(row) if this in FAILURES)]:
        wrong.append(f"errors={change['errors']}")
    return wrong


def why(state: Fields) -> list[str] | None:
    """Return why a message has failed, as its state says."""
    extra = state["status_extra"] or {}
    if state["errors"] is not None or "errors" in extra:
        return state["errors"] if state["errors"] is not None else [extra["errors"]]
    error = json.loads(extra.get("error", "null"), parse_float=Decimal)
    return None if error is None or instant(error) is not None else [extra["error"]]


def _by_message(events: Iterable[Event]) -> tuple[dict[str, list[Event]], set[str]]:
    """Return what is said of each message, and of which some is a claim or was deleted."""
    own, deleted = defaultdict(list), set()
    for event in events:
        if event["action"] == "delete":
            deleted.add((event["entity"], event["data"].get("id")))
        elif event["entity"] == "messages":
            own[event["data"]["id"]].append(event)
    unsettled = {
        key
        for key, told in own.items()
        for event in told
        if event.get("organizations") is not None
        or ("messages", key) in deleted
        or any(("conversations", value) in deleted for value in event["data"].values() if isinstance(value, str))
    }
    return own, unsettled


def _moments(event: Event) -> dict[str, int | None]:
    """Return when a row's message has reached each status, or lost it; None if the row does not say that."""
    written = None if version(event)[1] == NEVER else version(event)[1]
    told = _status(event["data"]).items()
    return {key: written if instant(value) is None else instant(value) for key, value in told if key != "errors"}


def _status(row: Fields) -> Fields:
    return row["status"] if isinstance(row.get("status"), dict) else {}


def _before(told: Iterable[tuple[str, int | None]], this: str, at: int) -> set[tuple[int, str]]:
    """Return rank and name of the statuses before one."""
    return {
        (_rank(key), "failed" if key == "error" else key)
        for key, moment in told
        if key != this and _rank(key) >= 0 and moment is not None and (moment, _rank(key)) < (at, _rank(this))
    }


def _rank(status: str | None) -> int:
    name = "failed" if status == "error" else status
    return RANKS.index(name) if name in RANKS else -1


def _errors(row: Fields) -> list[list[str]]:
    """Return what a row says of why its message has failed."""
    errors, alone = _status(row).get("errors"), _status(row).get("error")
    told = [json_text(error) for error in errors] if isinstance(errors, list) else [json_text(errors)]
    return [told, [json_text(alone)]]
