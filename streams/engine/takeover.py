"""Takeover: the findings of a new owner, and the tables restored from them."""

import logging
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from confluent_kafka import Consumer

from openbsp.kafka.connection import Config
from openbsp.log import event
from streams.engine.damage import TOPIC, judge_changelog, judge_derived, judge_positions, noted_identities, numbers
from streams.engine.guard import FIRST, noted
from streams.engine.layout import check
from streams.engine.membership import Committed
from streams.engine.outside import Outside
from streams.engine.restore import Changelog, restore
from streams.engine.source import bounds, end_offsets, first_offsets, reader
from streams.engine.stores import Store
from streams.engine.table import TableSpec

logger = logging.getLogger(__name__)

At = tuple[str, int]
Ends = dict[At, int]

#: Returns the ids of topics, by their full names, as far as known. Blocking. Raises KafkaUnavailableError.
Identify = Callable[[], Mapping[str, str]]


@dataclass(frozen=True, slots=True)
class Found:
    """The findings of a takeover.

    `ends` are those of the sources, `log_ends` those of the guarded logs, `verified` the offsets up to which these are
    clean.
    """

    positions: Ends
    ends: Ends
    log_ends: Ends
    verified: Ends
    restored: int
    #: Records of each source partition that were deleted before they were read.
    lost: Ends
    #: Guarded logs (topic and partition) that lack data of the tables.
    incomplete: frozenset[At]
    #: Names of those of them that had lost records, one for each partition.
    repaired: Sequence[str]
    #: The first offsets of the guarded logs.
    firsts: Ends
    #: Distinguishes each source and guarded log (topic) from others that had its name before.
    identities: Mapping[str, int]
    #: Source partitions whose committed positions are not followed.
    refused: Sequence[At]
    #: Changelogs whose tables are built from the sources once more.
    rebuilt: frozenset[At] = frozenset()

    def followed(self, committed: Mapping[At, Committed]) -> dict[At, Committed]:
        """Return the commits of the followed positions: notes of others do not apply to the present topics."""
        return {at: left for at, left in committed.items() if at not in self.refused}

    def settle(self, stores: Mapping[At, Store]) -> None:
        """Save in the stores (by changelog's topic and partition) of rebuilt tables what they have read.

        Not before it is committed that these are incomplete: until then only the stores show it.
        """
        for at in self.rebuilt:
            if at[0] in self.identities:
                stores[at].save_topic(self.identities[at[0]])
            stores[at].save_position(self.log_ends[at])


NOTHING = Found({}, {}, {}, {}, 0, {}, frozenset(), (), {}, {}, ())


class Takeover:
    """Takes partitions over; `cancel` it when they are revoked meanwhile."""

    def __init__(  # noqa: PLR0917 where from, and what
        self,
        outside: Outside,
        connection: Config,
        group: str,
        tables: Sequence[TableSpec],
        topic: Callable[[str], str],
        restoring: Callable[[int, int], None],
        partitions: int,
        identify: Identify,
    ) -> None:
        """Prepare; `topic` gives the topic of a log, `restoring` is called with the records read and to be read."""
        self._cancelled = False
        self._outside = outside
        self._connection = connection
        self._group = group
        self._tables = tables
        self._topic = topic
        self._restoring = restoring
        self._partitions = partitions
        self._identify = identify

    def cancel(self) -> None:
        """Stop at the next bulk; what `run` returns then is incomplete."""
        self._cancelled = True

    def going(self) -> bool:
        """Return whether the partitions have not been revoked."""
        return not self._cancelled

    async def lacks(self, stores: Mapping[At, Store]) -> dict[int, int]:
        """Return for each partition how many changelog records its stores lack, at most."""
        thread = self._outside.threads.thread("takeover")
        consumer = reader(self._outside.clients, self._connection, self._group)
        try:
            names = {(self._topic(name), number): store for (name, number), store in stores.items()}
            found = await thread.run(bounds, consumer, names)
        finally:
            await thread.run(consumer.close)
            thread.close()
        lacking = dict.fromkeys((number for _, number in stores), 0)
        for at, (first, end) in found.items():
            lacking[at[1]] += max(0, end - max(first, names[at].position))
        return lacking

    async def run(self, sources: Iterable[At], committed: Mapping[At, Committed], stores: Mapping[At, Store]) -> Found:
        """Bring the stores (by changelog's name and partition) up to date, and return the findings.

        Raises PartitionsChangedError if they were made with another number of partitions.
        """
        sources = list(sources)
        verified = noted_ends(self._tables, self._topic, committed)
        logs = [log for table in self._tables for log in table.logs]
        joins = {table.changelog: table.join for table in self._tables}
        thread = self._outside.threads.thread("takeover")
        # Trap: what is deleted after it was judged must not be skipped: the rest would pass for the whole table.
        consumer = reader(self._outside.clients, self._connection, self._group, missing="error")
        try:
            owned = {partition for _, partition in stores}
            log_ends = await thread.run(
                end_offsets, consumer, [(self._topic(log), number) for log in logs for number in owned]
            )
            changelogs = {
                (at := (self._topic(name), number)): Changelog(store, verified.get(at, 0), joins[name])
                for (name, number), store in stores.items()
            }
            firsts = await thread.run(first_offsets, consumer, log_ends)
            known_firsts = noted_ends(self._tables, self._topic, committed, FIRST)
            told = numbers(await thread.run(self._identify))
            known = noted_ends(self._tables, self._topic, committed, TOPIC)
            replaced = {at for at, identity in known.items() if told.get(at[0], identity) != identity}
            former = {at for at, changelog in changelogs.items() if is_former(changelog.store, told.get(at[0]))}
            # Whose last owner noted nothing of it.
            replaced |= former - known.keys()
            incomplete, rebuilt, repaired = await thread.run(
                partial(_incomplete, replaced=replaced, former=former), consumer, changelogs, verified, known_firsts
            )
            for at, changelog in changelogs.items():
                if at[0] in told and at not in rebuilt:
                    await thread.run(changelog.store.save_topic, told[at[0]])
            restored = await restore(
                consumer,
                changelogs,
                thread=thread,
                clock=self._outside.clock,
                going=self.going,
                progress=self._restoring,
            )
            check(self._group, {store.partitions for store in stores.values()}, self._partitions)
            for at, changelog in changelogs.items():
                log_ends[at] = changelog.position
            derived = {
                (self._topic(log), number): changelogs[self._topic(table.changelog), number].store
                for table in self._tables
                for log in table.guarded
                for number in owned
            }
            bounds_of = {at: (firsts[at], log_ends[at]) for at in derived}
            owing, republished = await thread.run(_lacking, derived, verified, bounds_of, known_firsts, replaced)
            found = await thread.run(bounds, consumer, sources)
            judged = judge_positions(
                sources,
                committed,
                found,
                noting={self._topic(table.source) for table in self._tables},
                damaged={partition for _, partition in rebuilt},
                identities=told,
            )
            for remark in judged.remarks:
                logger.error("%s", remark, extra=event("engine.position_wrong"))
            return Found(
                positions=judged.positions,
                ends={at: end for at, (_, end) in found.items()},
                log_ends=log_ends,
                verified={
                    at: 0 if at in incomplete | owing else min(end, verified.get(at, end))
                    for at, end in log_ends.items()
                },
                restored=restored,
                lost=judged.lost,
                incomplete=incomplete | owing,
                repaired=[
                    log for log in logs for number in owned if (self._topic(log), number) in repaired | republished
                ],
                firsts=firsts,
                identities=noted_identities(committed) | _agreed(known) | told,
                refused=judged.refused,
                rebuilt=rebuilt,
            )
        finally:
            await thread.run(consumer.close)
            thread.close()


def noted_ends(
    tables: Iterable[TableSpec], topic: Callable[[str], str], committed: Mapping[At, Committed], suffix: str = ""
) -> Ends:
    """Return the note of each guarded log: its verified end, or the value under its name with a suffix."""
    names = {log + suffix: topic(log) for table in tables for log in table.logs}
    return {
        (names[name], partition): end
        for (_, partition), left in committed.items()
        for name, end in noted(left.note).items()
        if name in names
    }


def _agreed(known: Ends) -> dict[str, int]:
    """Return the noted id of each log, by its topic, where all of its partitions have the same."""
    found: dict[str, set[int]] = {}
    for (topic, _), identity in known.items():
        found.setdefault(topic, set()).add(identity)
    return {topic: identities.pop() for topic, identities in found.items() if len(identities) == 1}


def is_former(store: Store, topic: int | None) -> bool:
    """Return whether a store is a copy of a former topic of this name: neither its position nor its rows fit."""
    return topic is not None and store.topic not in {0, topic}


def _incomplete(
    consumer: Consumer,
    changelogs: Mapping[At, Changelog],
    verified: Ends,
    firsts: Ends,
    *,
    replaced: Collection[At] = (),
    former: Collection[At] = (),
) -> tuple[frozenset[At], frozenset[At], frozenset[At]]:
    """Return the incomplete changelogs; of them those to rebuild from the sources, and those that lost records.

    Tables that are rebuilt are kept, and read their changelogs from the beginning. `former` are those whose stores are
    copies of a former topic.
    """
    found, rebuilt, repaired = set(), set(), set()
    for at, (first, end) in bounds(consumer, changelogs).items():
        store = changelogs[at].store
        noted_end, known_first = verified.get(at), firsts.get(at, 0)
        # How far a former topic of this name was read says nothing of this one.
        position = 0 if at in former else store.position
        # Reading the store is costly, so it is done only where it matters.
        holds = (noted_end == 0 or first > known_first) and next(iter(store.scan(b"")), None) is not None
        damage = judge_changelog(
            "{}[{}]".format(*at),
            position,
            noted_end,
            first,
            end,
            holds=holds,
            known_first=known_first,
            replaced=at in replaced,
        )
        if damage is None:
            if store.position < first or at in former:
                # It was emptied, or created again, and refilled while this store was elsewhere; tombstones may be among
                # the lost records.
                store.clear()
                store.save_position(first)
            continue
        found.add(at)
        if damage.lost:
            repaired.add(at)
        if not damage.rebuild:
            logger.error("%s. It is written back", damage.problem, extra=event("engine.changelog_emptied"))
            continue
        if damage.lost:
            logger.error(
                "%s. Its table is built again from the sources, with what is on this worker's disk, and written back; "
                "rows that are in neither are lost until they are sent again",
                damage.problem,
                extra=event("engine.changelog_incomplete"),
            )
        else:
            logger.warning(
                "%s. It is built from the sources once more", damage.problem, extra=event("engine.changelog_unverified")
            )
        rebuilt.add(at)
        # Its records are joined with the store's values, as either may be newer.
        changelogs[at].rebuild(first)
    return frozenset(found), frozenset(rebuilt), frozenset(repaired)


def _lacking(
    derived: Mapping[At, Store],
    verified: Ends,
    found: Mapping[At, tuple[int, int]],
    firsts: Ends,
    replaced: Collection[At],
) -> tuple[frozenset[At], frozenset[At]]:
    """Return the derived logs that lack records of their tables, which are whole; of them those that lost records."""
    lacking, lost = set(), set()
    for at, store in derived.items():
        damage = judge_derived(
            "{}[{}]".format(*at),
            verified.get(at),
            *found[at],
            known_first=firsts.get(at, 0),
            replaced=at in replaced,
        )
        if damage is None or next(iter(store.scan(b"")), None) is None:
            continue
        lacking.add(at)
        if damage.lost:
            lost.add(at)
        logger.log(
            logging.ERROR if damage.lost else logging.WARNING,
            "%s. All of its keys are written once more, from the table",
            damage.problem,
            extra=event("engine.log_incomplete"),
        )
    return frozenset(lacking), frozenset(lost)
