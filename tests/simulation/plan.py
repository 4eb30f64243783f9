"""What happens in a history: events, and what goes wrong meanwhile. One seed decides it, and parts can be left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from random import Random
from typing import Any

from avro import instants
from avro.rows import made_id
from simulation import poison
from simulation.database import ERRORS, ODD_INSTANTS, ODD_VALUES, REACTION, lived, rows_of
from simulation.poison import DEADLY
from support.join_cases import Envelope, address, at, contact, conversation, inserted, message, opened, status_of
from support.spellings import SPELLINGS

#: Short, so that not much has to happen until it runs out.
SESSION_S = 1.0

#: In histories in which idle conversations are forgotten: the seconds of `at` before which a conversation is idle, what
#: the clock of the workers says, and how much later than the others events of conversations are that are not idle.
IDLE_BEFORE, IDLE_NOW, IDLE_LATER = 300, 320, 300

#: The entities whose rows can be idle.
_FORGOTTEN = ("messages", "conversations")

#: The instants of rows that others may have spelled.
_SECONDS = {text: datetime.fromisoformat(text) for text in map(at, range(100))}

#: For how long at least a worker may die at a write or a step that is still to come.
_ARMED_S = 0.5

_STATUSES = ["accepted", "sent", "delivered", "read", "failed", "typing"]


@dataclass(frozen=True)
class Arrival:
    """An event, or a key's tombstone, that comes to its topic at a time. `other_id`: its schema id is a new one.

    `poison`: it is no event but such a record.
    """

    at_s: float
    entity: str
    key: str
    event: Envelope | None
    other_id: bool = False
    poison: str = ""

    @property
    def topic(self) -> str:
        """The topic to which it comes, without its prefix."""
        return self.entity.replace("_", "-")


@dataclass(frozen=True)
class Fault:
    """What goes wrong at a time: with which worker, for how long or after how many, as its kind says."""

    at_s: float
    kind: str
    worker: int = 0
    amount: float = 0.0
    other: int = 0


@dataclass(frozen=True)
class Plan:
    """A history before it happens."""

    seed: int
    partitions: int
    workers: int
    durable: bool
    coalesce_ms: int
    commit_ms: int
    fetch_records: int
    latency_s: float
    hiccups: float
    congestion: float
    arrivals: tuple[Arrival, ...]
    faults: tuple[Fault, ...]
    #: Conversations in which nothing happens are forgotten.
    idle: bool = False
    #: What the history is aimed at, one of `_AIMS`, emptied, poison or standbys; empty if at nothing.
    aim: str = ""

    def without(self, *, arrivals: set[int] = frozenset(), faults: set[int] = frozenset()) -> "Plan":  # type: ignore[assignment]
        """Return the plan without some of its arrivals and faults, by their places."""
        return replace(
            self,
            arrivals=tuple(one for place, one in enumerate(self.arrivals) if place not in arrivals),
            faults=tuple(one for place, one in enumerate(self.faults) if place not in faults),
        )

    @property
    def turn_s(self) -> float:
        """How long a worker works before others have their turn. The clock stands still meanwhile: 0 is every step."""
        return 0.0 if self.seed % 2 == 0 else 0.02

    @property
    def standbys(self) -> bool:
        """Whether each partition has a standby copy."""
        return self.durable and Random(f"standbys {self.seed}").random() < 0.5

    @property
    def late_records(self) -> int:
        """How much of a partition may be left to be read before others go on without it; 0: nothing."""
        return Random(f"late records {self.seed}").choice([0, 5, 20_000])

    @property
    def refusals(self) -> float:
        """How probably a batch is refused of a producer that has written nothing to its partition yet."""
        return Random(f"refusals {self.seed}").choice([0.0, 0.0, 0.0, 0.5])

    @property
    def early_ends(self) -> float:
        """How probably a consumer hears of an end before the end."""
        return Random(f"early ends {self.seed}").choice([0.0, 0.0, 0.0, 0.3])

    @property
    def end_s(self) -> float:
        """When nothing comes and nothing goes wrong any more."""
        return max([0.0, *(one.at_s for one in self.arrivals), *(one.at_s + _lasts(one) for one in self.faults)])

    @property
    def events(self) -> list[Envelope]:
        """All events that can be used, as often as they come."""
        return [one.event for one in self.arrivals if one.event is not None and is_usable(one)]

    @property
    def removed(self) -> set[tuple[str, str]]:
        """Entity and id of the rows that are removed in the end."""
        return {(one.entity, one.key) for one in self.arrivals if one.event is None}

    @property
    def late(self) -> bool:
        """Whether something may be written by those who do not own it any more."""
        return any(one.kind.startswith("late") or one.kind == "long pause" for one in self.faults)

    @property
    def crashes(self) -> int:
        """How often workers are killed at least."""
        return sum(2 if "starts" in one.kind else 1 for one in self.faults if "kill" in one.kind)

    @property
    def forgotten(self) -> set[tuple[str, str]]:
        """Entity and id of the rows that are idle, and so may be gone."""
        if not self.idle:
            return set()
        rows = {(one.entity, one.key) for one in self.arrivals if one.entity in _FORGOTTEN and not one.poison}
        return {row for row in rows if is_idle(row[1])}

    def __str__(self) -> str:
        where = "on disk" if self.durable else "in memory"
        where += (", with standby copies" if self.standbys else "") + (", idle conversations go" if self.idle else "")
        numbers = f"{self.partitions} partitions, {self.workers} workers, stores {where}"
        lines = [f"seed {self.seed}: {numbers}, coalesce_ms={self.coalesce_ms}, commit_ms={self.commit_ms}"]
        told = [(one.at_s, _told(one)) for one in (*self.arrivals, *self.faults)]
        lines += [f"  {at_s:7.3f} s  {text}" for at_s, text in sorted(told)]
        return "\n".join(lines)


def is_usable(one: Arrival) -> bool:
    """Return whether an arrival can be merged: neither its own record nor what follows from it is poison."""
    home = one.event["data"].get("conversation_id") if one.event else None
    return not one.poison and one.key not in DEADLY and home not in DEADLY


def told_by(arrivals: Iterable[Arrival]) -> list[Envelope]:
    """Return the events from which the states follow: what the simulated database has, if there is one."""
    events = [one.event for one in arrivals if one.event]
    return rows_of(events) if any("commit" in event for event in events) else events


def is_idle(key: str) -> bool:
    """Return whether nothing happens any more in a row with that id, in a history that forgets those."""
    return int(key[1:]) % 2 == 0


def _lasts(fault: Fault) -> float:
    if fault.kind.startswith(("kill at a ", "kill after a ", "kill as ")):
        return _ARMED_S
    return fault.amount if fault.kind in {"pause", "late", "away", "coordinator away", "registry away"} else 0.0


def _told(one: Arrival | Fault) -> str:
    if isinstance(one, Fault):
        return f"{one.kind}: worker {one.worker}, {one.amount:.3f}, other {one.other}"
    if one.poison:
        return f"{one.entity}: a record with {one.poison}"
    if one.event is None:
        return f"{one.entity} {one.key}: tombstone"
    if not one.event:
        return f"{one.entity} {one.key}"
    data = {name: value for name, value in one.event["data"].items() if name != "id"}
    return f"{one.entity} {one.key}: {one.event['action']} {data}{' (another schema id)' if one.other_id else ''}"


def plan_of(seed: int) -> Plan:
    """Return the history of a seed."""
    emptied = Random(f"changelogs {seed}")
    if emptied.random() < _EMPTIED:
        return replace(_aimed_at_emptied(seed, emptied), aim="emptied")
    plan = _plan_of(seed)
    # Who dies while it reads all again may have events set aside that ended nobody.
    if plan.aim == "poison" or emptied.random() >= _EMPTIED_TOO:
        return plan
    faults = [_emptying(emptied, plan.arrivals, plan.partitions) for _ in range(emptied.choice([1, 1, 2]))]
    return replace(plan, faults=tuple(sorted((*plan.faults, *faults), key=lambda one: one.at_s)))


def _plan_of(seed: int) -> Plan:
    copies = Random(f"copies {seed}")
    if copies.random() < _COPIES:
        return replace(_aimed_at_standbys(seed, copies), aim="standbys")
    rows = Random(f"rows {seed}")
    kind = rows.random()
    if kind < _DEADLY:
        return replace(_aimed_at_poison(seed, rows), aim="poison")
    aim = Random(f"aim {seed}")
    if aim.random() < _AIMED:
        name = aim.choice(sorted(_AIMS))
        return replace(_AIMS[name](seed, aim), aim=name)
    of_database = kind < _DEADLY + _DATABASE
    random = Random(f"plan {seed}")
    partitions = random.choice([1, 1, 2, 3])
    workers = random.choice([1, 2, 2, 3])
    removals = random.random() < 0.35 and not of_database
    late = not removals and random.random() < 0.6
    span_s = random.choice([2.0, 4.0, 6.0] if late else [0.5, 1.5, 3.0])
    events = _events(random)
    idle = not removals and not late and aim.random() < _IDLE and not of_database
    if of_database:
        arrivals = _arrivals(random, lived(rows), span_s)
    else:
        events = _some_idle(events) if idle else _oddly(rows, events)
        if not idle and not removals:
            events = _deletes(aim, _rivals(aim, events))
        arrivals = [_perhaps_later(aim, one) for one in _arrivals(random, events, span_s)]
        if removals:
            arrivals += _removals(random, events, arrivals)
        elif not idle:
            arrivals = _claimed(Random(f"claims {seed}"), arrivals, span_s)
            arrivals += _strange(Random(f"strangers {seed}"), span_s)
        arrivals = _with_people(Random(f"people {seed}"), arrivals, span_s, idle=idle, removals=removals)
    durable = random.random() < 0.5
    kinds = _kinds(durable=durable, late=late, removals=removals)
    faults = [
        _fault(random, random.choice(kinds), arrivals, workers=workers, partitions=partitions, late=late)
        for _ in range(random.choice([0, 1, 1, 2, 2, 3, 4]))
    ]
    arrivals += _unusable(Random(f"poison {seed}"), span_s)
    return Plan(
        seed=seed,
        partitions=partitions,
        workers=workers,
        durable=durable,
        coalesce_ms=random.choice([0, 10, 50, 200]),
        commit_ms=random.choice([10, 50, 200]),
        fetch_records=random.choice([3, 20, 1_000]),
        latency_s=random.choice([0.001, 0.01, 0.03]),
        hiccups=random.choice([0.0, 0.0, 0.05]),
        congestion=random.choice([0.0, 0.0, 0.02]),
        arrivals=tuple(sorted(arrivals, key=lambda one: one.at_s)),
        faults=tuple(sorted(faults, key=lambda one: one.at_s)),
        idle=idle,
    )


def _oddly(random: Random, events: list[Envelope]) -> list[Envelope]:
    """Return the events, in a part of the histories with what is rarely in a row, and late ones."""
    if random.random() >= _ODD:
        return events
    told = []
    for event in events:
        data = dict(event["data"])
        second = random.randint(1, 90)
        if event["entity"] == "conversations":
            when = random.choice([at(second), at(second), at(90), *ODD_VALUES])
            when = _spelled(random, when)
            data["extra"] = random.choice([data.get("extra"), {"archived": when}, {"archived": at(60)}])
        elif event["action"] == "insert":
            moment = random.choice([data["timestamp"], at(second + 3_600), "2026-05-09T00:00:00Z", *ODD_INSTANTS])
            data["timestamp"] = random.choice([data["timestamp"], moment])
            data["content"] = random.choice([data["content"], data["content"], REACTION])
        elif random.random() < 0.3:
            data["status"] = data.get("status", {}) | {random.choice(_STATUSES): random.choice([*ODD_VALUES, None])}
        for name in ("updated_at", "timestamp"):
            if name in data:
                data[name] = _spelled(random, data[name])
        status = data.get("status")
        if isinstance(status, dict):
            data["status"] = {name: _spelled(random, value) for name, value in status.items()}
            if "failed" in status and random.random() < 0.7:
                data["status"]["errors"] = random.choice(ERRORS)
        received_at = (instants.parse(at(second)) or 0) + random.randrange(1_000_000)
        told.append(event | {"data": data, "received_at": received_at})
    return told


def _spelled(random: Random, value: Any) -> Any:
    """Return a value; most instants as somebody else would write them."""
    moment = _SECONDS.get(value) if isinstance(value, str) else None
    return value if moment is None or random.random() < 0.3 else random.choice(SPELLINGS).spell(moment)


def _unusable(random: Random, span_s: float) -> list[Arrival]:
    """Return records that cannot be used, in a part of the histories."""
    if random.random() >= _UNUSABLE:
        return []
    kinds = random.sample(sorted(poison.KINDS), random.randint(1, 4))
    return [Arrival(random.random() * span_s, poison.KINDS[kind][0], "", {}, poison=kind) for kind in kinds]


def _some_idle(events: list[Envelope]) -> list[Envelope]:
    """Return events of which every second row is long ago, and no message is in a conversation of the other kind."""
    told = []
    for event in events:
        data = dict(event["data"])
        home = data.get("conversation_id")
        if home is not None and (event["action"] != "insert" or is_idle(home) != is_idle(data["id"])):
            data["conversation_id"] = f"c{int(is_idle(data['id']) is False)}"
        if not is_idle(data["id"]):
            data = {name: _later(value) for name, value in data.items()}
        told.append(event | {"data": data})
    return told


def _later(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _later(one) for name, one in value.items()}
    for second in range(100) if isinstance(value, str) else ():
        if value == at(second):
            return at(second + IDLE_LATER)
    return value


def _rivals(random: Random, events: list[Envelope]) -> list[Envelope]:
    """Return the events, in a part of the histories with external ids that several messages have."""
    if random.random() >= _RIVALS:
        return events
    names = [f"x{number}" for number in range(random.randint(1, 2))]
    return [
        event | {"data": event["data"] | {"external_id": random.choice(names)}}
        if event["entity"] == "messages" and random.random() < (0.7 if event["action"] == "insert" else 0.2)
        else event
        for event in events
    ]


def _deletes(random: Random, events: list[Envelope]) -> list[Envelope]:
    """Return the events, in a part of the histories with deletes of some rows; those come at any place."""
    if random.random() >= _DELETES:
        return events
    rows = sorted({(event["entity"], event["data"]["id"]) for event in events})
    chosen = random.sample(rows, min(len(rows), random.randint(1, 2)))
    return events + [
        {"entity": entity, "action": "delete", "data": {"id": key, "organization_id": random.choice(["org", "other"])}}
        for entity, key in chosen
    ]


def _perhaps_later(random: Random, arrival: Arrival) -> Arrival:
    """Return an arrival; of a delete in half of the cases later, when all that it deletes is known."""
    assert arrival.event is not None
    if arrival.event["action"] == "delete" and random.random() < 0.5:
        return replace(arrival, at_s=arrival.at_s + random.uniform(0.3, 1.0))
    return arrival


def _aimed_at_removals(seed: int, random: Random) -> Plan:
    """Return a history in which what is removed was committed before, and workers die in the middle of the removal."""
    whole = random.random() < 0.5
    homes = {f"m{number}": "c0" if whole else f"c{number % 4}" for number in range(2 if whole else 8)}
    events = [inserted(key, home, "incoming", 2) for key, home in homes.items()]
    events += [opened(home, 1) for home in sorted(set(homes.values()))]
    arrivals = [Arrival(0.2, event["entity"], event["data"]["id"], event) for event in events]
    arrivals += [Arrival(1.5, "messages", key, None) for key in homes if whole or random.random() < 0.7]
    arrivals += [Arrival(2.5, "conversations", "c0", None)] * whole
    moment = (2.5 if whole else 1.5) - 0.01
    most = 1 if whole else 4
    faults = [Fault(moment, "kill after a tombstone", worker, float(random.randint(0, most))) for worker in range(2)]
    if not whole:
        return _aimed(seed, random, arrivals, faults, durable=random.random() < 0.5)
    # Only the worker that was killed has a directory that may lack what the changelog still has.
    return replace(_aimed(seed, random, arrivals, faults[:1], durable=True), workers=1)


def _aimed_at_restores(seed: int, random: Random) -> Plan:
    """Return a history in which workers with empty directories die while they restore, or soon after."""
    keys = [f"m{number}" for number in range(6)]
    events = [event for key in keys for event in _life(random, key, ["c0", "c1"])]
    arrivals = [Arrival(0.2, event["entity"], event["data"]["id"], event) for event in events]
    # What is said of them later is right only if all that was said before is still known.
    receipts = [message(key, status={"read": at(95)}, updated_at=at(95)) for key in keys]
    arrivals += [Arrival(5.0, "messages", one["data"]["id"], one) for one in receipts]
    faults = [Fault(1.5, "lose directory", worker) for worker in range(2)]
    kinds = ["kill", "kill as it starts"]
    faults += [
        Fault(random.uniform(2.0, 4.0), random.choice(kinds), worker, float(random.randint(5, 80)))
        for worker in range(2)
        for _ in range(2)
    ]
    return _aimed(seed, random, arrivals, faults, durable=True)


def _aimed_at_notes(seed: int, random: Random) -> Plan:
    """Return a history in which a late write comes to a new owner, who dies before it has repaired it."""
    hold_s, late_s = 1.0, SESSION_S * random.uniform(2.5, 4.0)
    comes_s = hold_s + late_s
    told = [
        (0.2, inserted("m0", "c0", "outgoing", 2)),
        (0.2, inserted("m1", "c0", "outgoing", 2)),
        (0.3, opened("c0", 1)),
        (hold_s + random.uniform(0.0, 0.2), status_of("m0", "sent", 10)),
        (comes_s - random.uniform(0.2, 0.8), status_of("m0", "delivered", 11)),
        # Another row's write in the same log tells the owner that it is not alone.
        (comes_s + random.uniform(0.01, 0.1), status_of("m1", "sent", 12)),
    ]
    arrivals = [Arrival(at_s, event["entity"], event["data"]["id"], event) for at_s, event in told]
    faults = [Fault(hold_s, "late and killed", worker, late_s) for worker in range(2) if random.random() < 0.7]
    faults.append(Fault(comes_s + random.uniform(0.05, 0.7), "kill all"))
    return _aimed(seed, random, arrivals, faults, durable=random.random() < 0.3)


def _aimed_at_standbys(seed: int, random: Random) -> Plan:
    """Return a history in which who has a standby copy takes over soon after a late write has come to its changelog."""
    plan = _aimed_at_notes(seed, random)
    late = tuple(fault for fault in plan.faults if fault.kind == "late and killed")
    comes_s = max((fault.at_s + fault.amount for fault in late), default=3.0)
    joins = [Fault(comes_s + random.uniform(-0.1, 0.4), "add") for _ in range(random.randint(1, 2))]
    # Nothing tells the owner of the late write before it is gone but its own look.
    arrivals = [replace(one, at_s=one.at_s + 2.0) if one.at_s > comes_s else one for one in plan.arrivals]
    faults = tuple(sorted((*late, *joins), key=lambda one: one.at_s))
    return replace(plan, durable=True, arrivals=tuple(arrivals), faults=faults)


def _aimed_at_emptied(seed: int, random: Random) -> Plan:
    """Return a history in which others take over what is left of changelogs that were emptied while they grew.

    Some of their rows are heard of again before that, so that something is left, and all of them after it.
    """
    keys = [f"m{number}" for number in range(random.choice([8, 16]))]
    homes = ["c0", "c1", "c2"]
    events = [opened(home, 1) for home in homes]
    events += [inserted(key, random.choice(homes), random.choice(["incoming", "outgoing"]), 2) for key in keys]
    arrivals = [Arrival(0.2, event["entity"], event["data"]["id"], event) for event in events]
    emptied_s = random.uniform(0.8, 1.4)
    # Copies are always a bit behind while something is written.
    some = random.sample(keys, len(keys) // 2)
    arrivals += [
        Arrival(emptied_s + random.uniform(-0.4, 0.6), "messages", key, status_of(key, status, second))
        for key in some
        for status, second in (("sent", 10), ("delivered", 11))
    ]
    arrivals += [Arrival(5.0, "messages", key, status_of(key, "read", 20)) for key in keys]
    kind = random.choice(["empty changelogs", "empty changelog", "empty while read"])
    share = random.choice([1.0, random.random()])
    # Of the messages or conversations, in one of three partitions.
    faults = [Fault(emptied_s, kind, 0, share, random.randrange(3) * 4 + random.choice([0, 0, 1]))]
    after_s = emptied_s + random.uniform(0.0, 1.2)
    if random.random() < 0.35:
        # Its takeover is cut off at one of its last steps; the next one may find what it has left half done.
        faults.append(Fault(after_s, "lose directory", 0, float(random.randint(90, 160))))
        return replace(_aimed(seed, random, arrivals, faults, durable=True), workers=1, fetch_records=3)
    kinds = ["remove", "lose directory", "lose directory", "add", "add", "kill", "kill all", "kill as it starts"]
    for _ in range(random.choice([1, 2, 3])):
        faults.append(Fault(after_s, random.choice(kinds), random.randrange(2), float(random.randint(5, 160))))
        after_s += random.choice([random.uniform(0.0, 0.1), random.uniform(0.1, 1.5)])
    # Little comes at a time, so that there is a middle of reading it.
    return replace(_aimed(seed, random, arrivals, faults, durable=random.random() < 0.7), fetch_records=3)


def _emptying(random: Random, arrivals: Sequence[Arrival], partitions: int) -> Fault:
    """Return the loss of what is in changelogs, while something comes or soon after."""
    kind = random.choice(["empty changelog", "empty changelogs", "empty while read"])
    at_s = max(0.01, random.choice(arrivals).at_s + random.uniform(-0.1, 1.0))
    share = random.choice([1.0, random.random()])
    return Fault(at_s, kind, 0, share, random.randrange(partitions * 4))


def _aimed_at_disks(seed: int, random: Random) -> Plan:
    """Return a history in which workers die with news that is on their disks, or in the logs, and nowhere else.

    Of some rows nothing is told later, of the others something that is right only if the news was not lost.
    """
    slowly = random.random() < 0.5
    keys = [f"m{number}" for number in range(25 if slowly else random.randint(2, 8))]
    events = [inserted(key, random.choice(["c0", "c1"]), "outgoing", 2) for key in keys]
    arrivals = [Arrival(0.2, event["entity"], event["data"]["id"], event) for event in (opened("c0", 1), *events)]
    # Slowly: each is acknowledged before the next one comes, so that no write of it is on its way.
    news_s, every_s = 0.6, 0.1 if slowly else random.choice([0.0, 0.01, 0.03])
    for place, key in enumerate(random.sample(keys, len(keys))):
        arrivals.append(Arrival(news_s + place * every_s, "messages", key, status_of(key, "sent", 10)))
    arrivals += [Arrival(5.0, "messages", key, status_of(key, "read", 20)) for key in keys if random.random() < 0.5]
    workers = random.choice([1, 2])
    faults = []
    for worker in range(workers):
        kind = "kill" if slowly else random.choice(["kill", "kill at a write", "kill after a write"])
        at_s = news_s + random.uniform(0.0, 0.3 + len(keys) * every_s) if kind == "kill" else news_s - 0.01
        faults.append(Fault(at_s, kind, worker, float(random.randint(0, 4 * len(keys)))))
    plan = _aimed(seed, random, arrivals, faults, durable=True)
    return replace(plan, workers=workers, coalesce_ms=random.choice([0, 10] if slowly else [0, 10, 200]))


def _aimed_at_poison(seed: int, random: Random) -> Plan:
    """Return a history in which an event, or two, ends each worker that reads it.

    Hardly anything else ends workers there: who kills them in the wrong moments sets other events aside, too
    (streams.engine.poison).
    """
    arrivals = [
        replace(one, at_s=0.2 + random.random() * random.choice([0.0, 0.5, 12.0]))
        for one in _arrivals(random, lived(random), 1.0)
    ]
    for key in random.sample(DEADLY, random.choice([1, 1, 2])):
        event = random.choice(
            [
                inserted(key, "c0", "incoming", 1),
                opened(key, 1),
                contact(key, "insert", organization_id="org", name="a", updated_at=at(1)),
                inserted(f"in-{key}", key, "incoming", 1),
            ]
        )
        event |= {"commit": 0, "gone": [], "received_at": instants.parse(at(1))}
        arrivals.append(Arrival(random.uniform(0.2, 1.0), event["entity"], event["data"]["id"], event))
    kinds = ["kill", "kill at a write", "pause", "add", "remove", "registry away", "coordinator away", "compact"]
    faults = [
        _fault(random, random.choice(kinds), arrivals, workers=2, partitions=1, late=False)
        for _ in range(random.choice([0, 0, 1]))
    ]
    return _aimed(seed, random, arrivals, faults, durable=random.random() < 0.5)


def _aimed(seed: int, random: Random, arrivals: list[Arrival], faults: list[Fault], *, durable: bool) -> Plan:
    return Plan(
        seed=seed,
        partitions=random.choice([1, 2, 3]),
        workers=2,
        durable=durable,
        coalesce_ms=random.choice([0, 10]),
        commit_ms=random.choice([10, 50]),
        fetch_records=random.choice([3, 1_000]),
        latency_s=random.choice([0.01, 0.03]),
        hiccups=0.0,
        congestion=0.0,
        arrivals=tuple(sorted(arrivals, key=lambda one: one.at_s)),
        faults=tuple(sorted(faults, key=lambda one: one.at_s)),
    )


#: Parts of the histories: aimed at what hardly happens by itself; of the others, those that forget idle conversations,
#: and of the rest those with external ids that several messages have, and those with deletes.
_AIMED, _IDLE, _RIVALS, _DELETES = 0.2, 0.3, 0.4, 0.4
#: Histories that are aimed at emptied changelogs; of the rest those that are aimed at standby copies; all others are of
#: the rest.
_EMPTIED, _COPIES = 0.03, 0.03
#: Of those that are aimed neither at emptied changelogs nor at poison, those in which changelogs are emptied as well.
_EMPTIED_TOO = 0.08
#: Of those that are not aimed, the part with contacts; of those that forget nothing, that with strangers.
_PEOPLE, _STRANGERS = 0.4, 0.3
#: Histories in which events end workers, and those of a simulated database; of the others that are neither aimed nor
#: forget anything, those with odd rows. Of all that are not aimed, those with records that cannot be used.
_DEADLY, _DATABASE, _ODD, _UNUSABLE = 0.02, 0.3, 0.4, 0.2
_AIMS = {
    "disks": _aimed_at_disks,
    "notes": _aimed_at_notes,
    "removals": _aimed_at_removals,
    "restores": _aimed_at_restores,
}


def _events(random: Random) -> list[Envelope]:
    conversations = [f"c{number}" for number in range(random.randint(1, 3))]
    events: list[Envelope] = []
    for key in conversations:
        for _ in range(random.choice([0, 1, 1, 2, 3])):
            second = random.randint(1, 90)
            events.append(
                random.choice(
                    [
                        opened(key, second),
                        conversation(key, status=random.choice(["open", "closed"]), updated_at=at(second)),
                        conversation(key, name=random.choice(["a", "b", None]), updated_at=at(second)),
                        conversation(key, extra={"tag": random.randint(0, 2)}),
                    ]
                )
            )
    for number in range(random.randint(1, 6)):
        events += _life(random, f"m{number}", conversations)
    return events


def _life(random: Random, key: str, conversations: list[str]) -> list[Envelope]:
    home = random.choice(conversations)
    second = random.randint(1, 60)
    events = [inserted(key, home, random.choice(["incoming", "outgoing", "outgoing", "internal"]), second)]
    for _ in range(random.randint(0, 4)):
        second += random.randint(0, 5)
        status = random.choice(_STATUSES)
        change: dict[str, Any] = {"updated_at": at(second)}
        kind = random.random()
        if kind < 0.6:
            change["status"] = {status: at(second)}
        elif kind < 0.75:
            change["content"] = {"type": "text", "kind": "text", "text": f"edited at {second}"}
        elif kind < 0.9:
            change |= {"conversation_id": random.choice(conversations), "status": {status: at(second)}}
        else:
            change |= {"agent_id": random.choice([None, "a", "b"]), f"column{random.randint(0, 1)}": second}
        events.append(message(key, **change))
    return events


def _arrivals(random: Random, events: list[Envelope], span_s: float) -> list[Arrival]:
    told = events + random.choices(events, k=random.choice([0, len(events) // 4, len(events)]))
    if random.random() < 0.7:
        random.shuffle(told)
    times = sorted(random.random() * span_s for _ in told)
    if random.random() < 0.3:  # all at once
        times = [0.2] * len(told)
    other = random.random() < 0.3
    return [
        Arrival(at_s, event["entity"], event["data"]["id"], event, other and random.random() < 0.3)
        for at_s, event in zip(times, told, strict=True)
    ]


def _claimed(random: Random, arrivals: list[Arrival], span_s: float) -> list[Arrival]:
    """Return arrivals of which some come from writers for one organization only, and what another one says of the rows.

    It knows their ids, and claims them, later than their owner as a rule.
    """
    if random.random() < 0.6:
        return arrivals
    share = random.choice([0.0, 0.5, 1.0])
    told = []
    for one in arrivals:
        named = one.event["data"].get("organization_id") if one.event else None
        partial = one.event and one.event["action"] == "update" and "conversation_id" not in one.event["data"]
        if (named == "org" or partial) and random.random() < share:
            told.append(replace(one, event=_bound(one.event or {}, "org", random.randint(1_000, 2_000))))
        else:
            told.append(one)
    for one in random.choices(arrivals, k=random.randint(1, 6)):
        at_s, received_at = random.random() * span_s, random.choice([500, 3_000, 4_000, 5_000])
        event = _bound(_attack(random, one), "evil", received_at)
        told.append(Arrival(at_s, one.entity, one.key, event))
    return told


def _strange(random: Random, span_s: float) -> list[Arrival]:
    """Return, in a part of the histories, messages of other organizations that name a conversation which is not theirs.

    Their writer is bound to their organization, or may tell of all.
    """
    if random.random() >= _STRANGERS:
        return []
    told = []
    for number in range(random.randint(1, 2)):
        key, home, second = f"s{number}", random.choice(["c0", "c0", "c1"]), random.randint(1, 99)
        row = inserted(key, home, random.choice(["incoming", "outgoing"]), second)
        events = [row | {"data": row["data"] | {"organization_id": "evil"}}]
        events += [status_of(key, "read", second + 1)] * random.randint(0, 1)
        if random.random() < 0.5:
            events = [_bound(event, "evil", random.choice([500, 3_000])) for event in events]
        told += [Arrival(random.random() * span_s, "messages", key, event) for event in events]
    return told


def _with_people(
    random: Random, arrivals: list[Arrival], span_s: float, *, idle: bool, removals: bool
) -> list[Arrival]:
    """Return the arrivals, in a part of the histories with contacts and their addresses, at any time."""
    if random.random() >= _PEOPLE:
        return arrivals
    addresses = ["5215", "5215", "777"]
    removed = {one.key for one in arrivals if one.event is None}
    events = [opened(f"c{number}", random.randint(1, 90)) for number in range(2) if not idle]
    if not idle and random.random() < 0.5:
        events.append(conversation("c0", contact_address=random.choice(["777", None]), updated_at=at(95)))
    events = [event for event in events if event["data"]["id"] not in removed]
    for number in range(2):
        events += _told_of_contact(random, f"k{number}")
    for _ in range(random.randint(1, 5)):
        text, second = random.choice(addresses), random.randint(1, 90)
        columns = {"contact_id": random.choice(["k0", "k0", "k1", None]), "extra": {"name": f"~{second}"}}
        some = dict(random.sample(sorted(columns.items()), random.randint(1, 2)))
        events.append(address(text, random.choice(["insert", "update"]), **some, updated_at=at(second)))
    if random.random() < 0.3:
        received_at = instants.parse(at(random.randint(1, 90)))
        events.append(address(random.choice(addresses), "delete") | {"received_at": received_at})
    events += random.choices(events, k=random.randint(0, 3))
    told = [
        Arrival(random.random() * span_s, event["entity"], key_of(event), event)
        for event in random.sample(events, len(events))
    ]
    if removals:
        rows = sorted({(one.entity, one.key) for one in told if one.entity not in _FORGOTTEN})
        last = max(one.at_s for one in told)
        told += [Arrival(last + random.random(), *row, None) for row in rows if random.random() < 0.3]
    return arrivals + told


def _told_of_contact(random: Random, key: str) -> list[Envelope]:
    whose = random.choice(["org", "org", "org", "other"])
    events = [
        contact(key, "insert", organization_id=whose, name=f"{key} at {second}", updated_at=at(second))
        for second in random.sample(range(90), random.randint(0, 2))
    ]
    events += [contact(key, name=random.choice(["new", None]), updated_at=at(92))] * (random.random() < 0.3)
    if random.random() < 0.3:
        events = [_bound(event, whose, 1_000) for event in events]
    if random.random() < 0.3:
        columns = {"organization_id": "evil", "name": "evil", "updated_at": at(99)}
        events.append(_bound(contact(key, **columns), "evil", random.choice([500, 3_000])))
    if random.random() < 0.2:
        events.append(contact(key, "delete", organization_id=random.choice(["org", "other"])))
    return events


def key_of(event: Envelope) -> str:
    """Return the key of an event's record."""
    row = event["data"]
    if event["entity"] == "contacts_addresses":
        return made_id(row["organization_id"], row["service"], row["address"])
    return str(row["id"])


def _bound(event: Envelope, organization: str, received_at: int) -> Envelope:
    return {**event, "organizations": [organization], "received_at": received_at}


def _attack(random: Random, one: Arrival) -> Envelope:
    """Return what somebody else says of a row: that it is his, that it has changed, that it is gone."""
    data = {"id": one.key}
    kind = random.choice(["row", "row", "update", "delete"])
    if kind == "delete":
        return {"entity": one.entity, "action": "delete", "data": data | {"organization_id": "evil"}}
    if kind == "update":
        status: Any = {"read": at(99)} if one.entity == "messages" else "closed"
        return {"entity": one.entity, "action": "update", "data": data | {"status": status, "updated_at": at(99)}}
    where = random.choice(["c0", "c1", "c9"])
    row = opened(one.key, 99) if one.entity == "conversations" else inserted(one.key, where, "incoming", 99)
    return row | {"data": row["data"] | {"organization_id": "evil"}}


def _removals(random: Random, events: list[Envelope], arrivals: list[Arrival]) -> list[Arrival]:
    """Return tombstones for some messages, or for a conversation with all messages that ever were in it."""
    messages = sorted({event["data"]["id"] for event in events if event["entity"] == "messages"})
    gone = {("messages", key) for key in messages if random.random() < 0.4}
    if random.random() < 0.5:
        chosen = random.choice(
            sorted({event["data"]["id"] for event in events if event["entity"] == "conversations"} | {"c0"})
        )
        gone.add(("conversations", chosen))
        gone |= {
            ("messages", event["data"]["id"]) for event in events if event["data"].get("conversation_id") == chosen
        }
    last: dict[tuple[str, str], float] = {}
    for one in arrivals:
        last[one.entity, one.key] = max(one.at_s, last.get((one.entity, one.key), 0.0))
    spread = random.choice([0.0, 0.3, 1.0])
    return [Arrival(last.get(row, 0.5) + 0.001 + random.random() * spread, *row, None) for row in sorted(gone)]


def _kinds(*, durable: bool, late: bool, removals: bool) -> list[str]:
    kinds = ["kill", "kill", "kill at a write", "kill at a write", "kill after a write", "kill after a write"]
    kinds += ["kill after a write", "kill at a step", "kill as it starts", "pause", "add", "add", "remove"]
    kinds += ["away", "coordinator away", "registry away", "compact", "kill all"]
    if late:
        kinds += ["late", "late", "late and killed", "late and killed", "long pause", "long pause"]
    else:
        kinds += ["compact changelogs"]
    if removals:
        kinds += ["kill at a tombstone"] * 4 + ["kill after a tombstone"] * 8
    if durable:
        kinds += ["lose directory", "copy directory", "kill at a write", "kill after a write", "kill as it starts"]
    return kinds


def _fault(random: Random, kind: str, arrivals: list[Arrival], *, workers: int, partitions: int, late: bool) -> Fault:
    amount = {
        "kill at a write": float(random.choice([random.randint(0, 5), random.randint(0, 60)])),
        "kill after a write": float(random.choice([random.randint(0, 5), random.randint(0, 60)])),
        "kill at a tombstone": float(random.randint(0, 8)),
        "kill after a tombstone": float(random.randint(0, 8)),
        "kill at a step": float(random.choice([random.randint(0, 20), random.randint(0, 600)])),
        "kill as it starts": float(random.randint(5, 80)),
        "pause": random.random() * SESSION_S * 0.7,
        "long pause": SESSION_S * random.uniform(1.0, 4.0),
        "late": SESSION_S * random.uniform(2.0, 5.0),
        "late and killed": SESSION_S * random.uniform(1.0, 4.0),
        "away": random.random() * (2.0 if late else 0.2),
        "coordinator away": random.random() * 1.5,
        "registry away": random.random() * 2.0,
    }.get(kind, 0.0)
    # Most of what can go wrong goes wrong while something is done.
    removals = [one for one in arrivals if one.event is None]
    near = random.choice(removals if removals and random.random() < 0.6 else arrivals).at_s
    at_s = near + random.uniform(-0.1, 0.2) if random.random() < 0.8 else random.uniform(0.0, near + 1.0)
    if kind.endswith("a tombstone"):
        at_s = near - random.random() * 0.05
    return Fault(max(0.01, at_s), kind, random.randrange(workers), amount, random.randrange(max(workers, partitions)))
