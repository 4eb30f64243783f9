"""The programs that histories are about: their topics, what comes to those, and what must come of it."""

from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any, Protocol

import msgspec

from avro.schemas import latest
from simulation.log import Cluster
from simulation.plan import Arrival, Plan, is_usable, plan_of, told_by
from simulation.poison import DEADLY, ENDS_WORKER, KINDS, Parts
from simulation.program import (
    CHANGELOGS,
    IDS,
    PREFIX,
    SOURCES,
    TOPICS,
    JoinProgram,
    Program,
    WordsProgram,
    people,
    split_key,
)
from simulation.registry import SimulatedRegistry
from simulation.views import Reads
from support import wire
from support.reference import fold
from support.told import contradictions
from support.wire import headers_of

_dead_letter = wire.Wire("DeadLetter")


class Subject(Protocol):
    """A program, as a history needs to know it. Topics have no prefix here."""

    topics: tuple[str, ...]
    sources: tuple[str, ...]
    #: The topics whose last records are judged.
    judged: tuple[str, ...]
    registry: SimulatedRegistry
    program: type[Program]

    def plan(self, seed: int) -> Plan:
        """Return the history of a seed."""

    def record(self, arrival: Arrival) -> Parts:
        """Return key, value and headers of an arrival."""

    def expected(self, arrivals: Iterable[Arrival], plan: Plan) -> Any:
        """Return what must come of all that has come, for `differences`."""

    def differences(self, cluster: Cluster, expected: Any, plan: Plan) -> list[str]:
        """Return a line for each last record that is not as it should be."""

    def unread(self, reads: Reads, expected: Any) -> list[str]:
        """Return a line for each row of which the views do not answer what was expected."""

    def again(self, plan: Plan) -> list[Arrival]:
        """Return what makes a new owner write everything again."""

    def finished(self, cluster: Cluster, plan: Plan) -> list[str]:
        """Return a line for whatever else should not be there in the end, or is not."""


class JoinSubject:
    """The join, judged by the plain fold."""

    topics = TOPICS
    sources = SOURCES
    judged = ("message-state", "conversation-state")
    program = JoinProgram
    _rows = (people.decode_contact_row, people.decode_address_row)
    _states = (wire.message_state.decode, wire.conversation_state.decode)

    def __init__(self) -> None:
        self.registry = SimulatedRegistry(IDS)
        #: Schema ids that no worker knows at its start.
        self._other_ids = {
            name: self.registry.register(latest(record).text)
            for name, record in (
                ("messages", "MessageEvent"),
                ("conversations", "ConversationEvent"),
                ("contacts", "ContactEvent"),
                ("contacts_addresses", "ContactAddressEvent"),
            )
        }

    def plan(self, seed: int) -> Plan:
        """See Subject."""
        return plan_of(seed)

    def record(self, arrival: Arrival) -> Parts:
        """See Subject."""
        if arrival.poison:
            return KINDS[arrival.poison][2]()
        key = arrival.key.encode()
        if arrival.event is None:
            return key, None, None
        value = wire.event_bytes(arrival.event)
        if arrival.other_id:
            value = value[:1] + self._other_ids[arrival.entity].to_bytes(4) + value[5:]
        return key, value, headers_of(arrival.event)

    def expected(self, arrivals: Iterable[Arrival], plan: Plan) -> Any:
        """See Subject: message states and conversation states, by id, of rows that are neither removed nor idle.

        And of which events they are.
        """
        came = list(arrivals)
        gone = {(one.entity, one.key) for one in came if one.event is None} | plan.forgotten
        left = [one for one in came if not one.poison and one.key not in DEADLY and (one.entity, one.key) not in gone]
        rows = told_by(left)
        messages, conversations, _ = fold(rows)
        known = {key: state for key, state in conversations.items() if key not in DEADLY}
        return messages, known, [one.event for one in came if one.event and not one.poison]

    def differences(self, cluster: Cluster, expected: Any, plan: Plan) -> list[str]:
        """See Subject."""
        *states, events = expected
        wrong = []
        forgotten = {key for _, key in plan.forgotten}
        for name, decode, wanted in zip(self.judged, self._states, states, strict=True):
            found = {key: decode(value) for key, value in newest(cluster, name).items()}
            idle = {key: found.pop(key) for key in forgotten & found.keys()}
            wrong += different(name, found, wanted)
            wrong += [f"{name} {key}: is idle, but there" for key, one in sorted(idle.items()) if must_go(one)]
        if wrong:
            return wrong
        told = [
            wire.change.decode(one.value) for log in cluster.topics[PREFIX + "status-changes"] for one in log.records
        ]
        # A former owner's late word may come last.
        return contradictions(told, events, {} if plan.late else states[0])

    def unread(self, reads: Reads, expected: Any) -> list[str]:
        """See Subject."""
        return reads.final(*expected[:2])

    def again(self, plan: Plan) -> list[Arrival]:
        """See Subject: an event of each row that is not removed."""
        first = {(one.entity, one.key): one for one in reversed(plan.arrivals) if one.event and is_usable(one)}
        return [one for row, one in first.items() if row not in plan.removed]

    def finished(self, cluster: Cluster, plan: Plan) -> list[str]:
        """See Subject: status changes are told, each under the id that it has; no state contradicts itself."""
        lasting = [event for event in plan.events if (event["entity"], event["data"].get("id")) not in plan.forgotten]
        expected = fold(lasting)[2]
        # What is superseded or deleted in the end may have been told of before.
        allowed = fold([event | {"data": exists(event)} for event in plan.events if event["action"] != "delete"])[2]
        found = {}
        for log in cluster.topics[PREFIX + "status-changes"]:
            for one in log.records:
                fields = wire.change.decode(one.value or b"")
                found[fields["id"]] = fields["message_id"], fields["status"]
        claimed = {event["data"].get("id") for event in plan.events if event.get("organizations") is not None}
        never = [f"never told: status change {pair}" for key, pair in sorted(expected.items()) if key not in found]
        return (
            never
            + self._left(cluster, plan)
            + self._not_set_aside(cluster, plan)
            + _uncounted(cluster)
            + [
                f"told by mistake: status change {pair}"
                for key, pair in sorted(found.items())
                if not (key in allowed or pair[0] in claimed)
            ]
        )

    def _not_set_aside(self, cluster: Cluster, plan: Plan) -> list[str]:
        """Return a line for each record that is not set aside for what is wrong with it, or that is for nothing."""
        reasons = {self.record(one)[:2]: KINDS[one.poison][1] for one in plan.arrivals if one.poison}
        reasons |= {(key.encode(), None): ENDS_WORKER for key in DEADLY}
        wanted = {}
        for name in SOURCES:
            for number, log in enumerate(cluster.topics[PREFIX + name]):
                for one in log.records:
                    reason = reasons.get((one.key, one.value)) or reasons.get((one.key, None))
                    if reason is not None:
                        wanted[PREFIX + name, number, one.offset] = reason
        written = [one.value for log in cluster.topics[PREFIX + "dead-letters"] for one in log.records]
        letters = map(_dead_letter.decode, written)
        found = {(one["topic"], one["partition"], one["offset"]): one["reason"] for one in letters}
        return [
            f"{at} is set aside as {found.get(at)} instead of {wanted.get(at)}"
            for at in sorted(wanted.keys() | found.keys())
            if wanted.get(at) != found.get(at)
        ]

    def _left(self, cluster: Cluster, plan: Plan) -> list[str]:
        """Return a line for each removed row that whoever has only the changelogs would still know."""
        rows = [newest(cluster, name) for name in CHANGELOGS]
        messages, conversations = set(rows[0]), set(rows[1])
        left = messages & {key for entity, key in plan.removed if entity == "messages"}
        groups = {split_key(key.encode())[0].decode() for key in conversations}
        left |= groups & {key for entity, key in plan.removed if entity == "conversations"}
        if plan.crashes > 1:
            return [f"{key} is removed, but still in a changelog" for key in sorted(left)]
        left |= {
            key
            for entity, stored, decode in zip(("contacts", "contacts_addresses"), rows[2:], self._rows, strict=True)
            for key in {key for name, key in plan.removed if name == entity} & stored.keys()
            if decode(stored[key]).facts not in (people.NO_CONTACT, people.NO_ADDRESS)
        }
        return [f"{key} is removed, but still in a changelog" for key in sorted(left)]


class WordsSubject:
    """A second program on the engine (support.words), judged by counting."""

    topics = ("words", "counts")
    sources = ("words",)
    judged = ("counts",)
    program = WordsProgram

    def __init__(self) -> None:
        self.registry = SimulatedRegistry()

    def plan(self, seed: int) -> Plan:
        """See Subject: with the accidents of the join's history."""
        plan = plan_of(seed)
        random = Random(f"words {seed}")
        words = [f"word{number}" for number in range(random.randint(1, 8))]
        arrivals = [Arrival(one.at_s, "words", random.choice(words), {}) for one in plan.arrivals]
        return replace(plan, arrivals=tuple(arrivals), idle=False)

    def record(self, arrival: Arrival) -> Parts:
        """See Subject."""
        return arrival.key.encode(), b"", None

    def expected(self, arrivals: Iterable[Arrival], plan: Plan) -> Any:
        """See Subject: how often each word came."""
        del plan
        counts: dict[str, int] = {}
        for one in arrivals:
            counts[one.key] = counts.get(one.key, 0) + 1
        return counts

    def differences(self, cluster: Cluster, expected: Any, plan: Plan) -> list[str]:
        """See Subject."""
        del plan
        decode = msgspec.json.decode
        found = {decode(key): {"count": decode(value)[0]} for key, value in newest(cluster, "counts").items()}
        return different("counts", found, {key: {"count": count} for key, count in expected.items()})

    def unread(self, reads: Reads, expected: Any) -> list[str]:
        """See Subject: it has no views."""
        del reads, expected
        return []

    def again(self, plan: Plan) -> list[Arrival]:
        """See Subject: each word once more, which counts."""
        return [Arrival(plan.end_s, "words", word, {}) for word in sorted({one.key for one in plan.arrivals})]

    def finished(self, cluster: Cluster, plan: Plan) -> list[str]:
        """See Subject."""
        del cluster, plan
        return []


def _uncounted(cluster: Cluster) -> list[str]:
    """Return a line for each conversation state, also a former one, in which outgoing messages have no status."""
    values = [one.value for log in cluster.topics[PREFIX + "conversation-state"] for one in log.records if one.key]
    states = [wire.conversation_state.decode(value) for value in values if value is not None]
    return [
        f"conversation-state {one['id']}: {one['status_counts']} are not {one['outgoing_count']} outgoing messages"
        for one in states
        if sum(one["status_counts"].values()) != one["outgoing_count"]
    ]


def must_go(state: dict[str, Any]) -> bool:
    """Return whether a row that is there tells when something happened, so that it is idle, and is nobody's orphan."""
    if "message_count" in state:
        return state["message_count"] > 0 or state["created_at"] is not None or state["updated_at"] is not None
    return state["conversation_id"] is not None


def exists(event: dict[str, Any]) -> dict[str, Any]:
    """Return the columns of an event but for that which can make its message superseded."""
    return {name: value for name, value in event["data"].items() if name != "external_id"}


SUBJECTS: dict[str, type[JoinSubject] | type[WordsSubject]] = {"join": JoinSubject, "words": WordsSubject}


def newest(cluster: Cluster, name: str) -> dict[str, bytes]:
    """Return the last value of each key of a topic, without marks and tombstones."""
    return {
        one.key.decode(errors="replace"): one.value
        for log in cluster.topics[PREFIX + name]
        for one in log.newest().values()
        if one.key and one.value is not None
    }


def different(name: str, found: dict[str, Any], wanted: dict[str, Any]) -> list[str]:
    """Return a line for each key whose value is not as it should be."""
    lines = []
    for key in sorted(found.keys() | wanted.keys()):
        have, want = found.get(key), wanted.get(key)
        if have is None or want is None:
            if have is not want:
                lines.append(f"{name} {key}: {'is missing' if have is None else 'should not be there'}")
        elif have != want:
            names = sorted(field for field in want.keys() | have.keys() if have.get(field) != want.get(field))
            lines.append(
                f"{name} {key}: "
                + ", ".join(f"{field}={have.get(field)!r} instead of {want.get(field)!r}" for field in names)
            )
    return lines
