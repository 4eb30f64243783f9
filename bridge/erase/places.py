"""Every place where erased data may still be, and until when. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from avro.catalogue import TOPICS
from bridge.contact_tables import ENTITIES
from bridge.erase.search import COMPACT, Trace

Settings = Mapping[str, str | None]

#: Kafka's own default: compaction waits without limit.
_WITHOUT_END = 2**63 - 1
#: How long a broker takes to find due segments, and to clean them: minutes, unless it is overloaded.
_CLEANER = "plus the time of the cleaner"
#: Something is overdue this long after its date.
_SLACK = timedelta(hours=1)
_STORES = "of each worker that runs; the directory of one that does not is yours to delete"
_TOLD = "an event with action `delete` for each row, and a tombstone in the state topics"


@dataclass(frozen=True, slots=True)
class Place:
    """A place: what was there, what of it is gone, what is left, and when that is gone at the latest.

    `was` and `gone` count records or rows, None where they cannot be counted. `until` is None where there is no date.
    `fault` says why what is left should not be there.
    """

    name: str
    was: int | None
    gone: int | None
    left: str
    until: datetime | None
    condition: str = ""
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Compaction:
    """How often a worker compacts each of its stores (0: never), and when all had been compacted last."""

    every: timedelta
    last: datetime


@dataclass(frozen=True, slots=True)
class Spooled:
    """A spool directory's data about the rows: waiting events, and bytes of former ones."""

    directory: str
    waiting: int
    quarantined: int
    residue: int


def topics(
    settings: Mapping[str, Settings], now: datetime, traces: Mapping[str, Trace], *, deleted: bool = True
) -> list[Place]:
    """Return the topics with what is left in them; `settings` are the broker's, by catalogue name.

    With `deleted`, what no tombstone supersedes in a compacted topic is a fault.
    """
    return [_topic(name, settings.get(name), now, traces.get(name), deleted=deleted) for name in TOPICS]


def views(rows: int, shown: int, *, deleted: bool = True) -> Place:
    """Return the views, which had so many rows, and show so many."""
    left = f"{shown} rows are shown, or the views do not answer for them" if shown else "nothing: the views were asked"
    return Place(
        "memory, views, live page, log",
        rows,
        rows - shown,
        left,
        None if shown else datetime.now(UTC),
        "content is never logged",
        left if shown and deleted else None,
    )


def suppression(listed: bool | None, now: datetime) -> Place:  # noqa: FBT001 None: there is no list
    """Return whether late webhooks of the contact are refused."""
    name = "suppression list"
    if listed is None:
        left = "no list: webhooks that OpenBSP sends of this contact come in again"
        return Place(name, None, None, left, None, "set BRIDGE_SUPPRESSION_KEY for the bridge and for this command")
    if not listed:
        left = "the contact is not on it: webhooks of this contact come in again"
        return Place(name, None, None, left, None, "it was lifted, or erased with another --service or --organization")
    return Place(name, None, None, "a hash of the contact: webhooks of it are turned away", now, "until it is lifted")


def spools(waiting: int | None, searched: Iterable[Spooled], now: datetime) -> list[Place]:
    """Return the spools: those whose files were searched, else what the bridge reports of its own.

    `waiting` is how many events wait, of any row; None if unknown.
    """
    found = [_searched(spooled, now) for spooled in searched]
    if found:
        return found
    said = "unknown: /readyz did not say" if waiting is None else f"{waiting} events wait, of whomever"
    return [
        Place(
            "spool of each bridge",
            None,
            None,
            f"{said}; the file of an empty spool is cut to nothing" if waiting == 0 else said,
            now if waiting == 0 else None,
            "" if waiting == 0 else "until it is empty: what waits is published; --spool DIR searches its files",
        )
    ]


def stores(compaction: Compaction | None, deleted_at: datetime, now: datetime, *, deleted: bool) -> Place:
    """Return the workers' stores, whose files have deleted data until they are compacted."""
    name = "stores of the workers"
    if compaction is None:
        left = "unknown: the worker did not say how often it compacts its stores"
        return Place(name, None, None, left, None, "give a token of the views that may see all organizations")
    if not compaction.every:
        return Place(name, None, None, "nothing: the worker keeps its tables in memory", now)
    if deleted and compaction.last > deleted_at:
        left = f"ids only: the worker that was asked has compacted its stores since ({compaction.last:%Y-%m-%d %H:%M}Z)"
        return Place(name, None, None, left, max(now, deleted_at + compaction.every), _STORES)
    left = "ids only; former values are in files that RocksDB has not compacted"
    return Place(name, None, None, left, deleted_at + compaction.every, f"plus the time that it takes; {_STORES}")


def others() -> list[Place]:
    """Return the places that cannot be searched from here."""
    return [
        Place(
            "consumers of the topics",
            None,
            None,
            "their own copies",
            None,
            f"each gets {_TOLD}; what they keep is theirs to erase",
        ),
        Place(
            "OpenBSP itself",
            None,
            None,
            "its rows, unless they were deleted there",
            None,
            "erase there first: what it sends of other rows of the person comes in again, unless it is suppressed",
        ),
    ]


def _searched(spooled: Spooled, now: datetime) -> Place:
    name = f"spool in {spooled.directory}"
    here = spooled.waiting + spooled.quarantined
    if not here and not spooled.residue:
        return Place(name, 0, 0, "nothing: the files were searched", now)
    parts = [
        f"{spooled.waiting} events wait" if spooled.waiting else "",
        f"{spooled.quarantined} events in quarantine" if spooled.quarantined else "",
        f"their ids, or bytes of former events, at {spooled.residue} places" if spooled.residue and not here else "",
    ]
    fault = f"{here} events are in the files" if here else "their ids, or bytes of former events, are in the files"
    return Place(
        name,
        here,
        0,
        ", ".join(filter(None, parts)),
        None,
        "until the spool is empty; --execute --spool DIR removes them",
        fault,
    )


def _topic(name: str, settings: Settings | None, now: datetime, trace: Trace | None, *, deleted: bool) -> Place:
    if trace is None:
        return Place(name, None, None, "unknown: there is no such topic", None, "run `bridge topics check`")
    if settings is None:
        condition = "its settings cannot be read: needs the right DescribeConfigs"
        return Place(
            name, trace.content, None, _left(name, trace), None, condition, _fault(name, trace, deleted=deleted)
        )
    compacted = TOPICS[name].cleanup_policy == COMPACT
    if compacted:
        lag = _number(settings, "max.compaction.lag.ms", _WITHOUT_END)
        wait = None if lag >= _WITHOUT_END else timedelta(milliseconds=lag)
        condition = f"in partitions that are written to, {_CLEANER}"
        without = "set max.compaction.lag.ms: compaction has no date without it"
    else:
        # Retention deletes segments, by the newest record in each.
        retention, segment = _number(settings, "retention.ms", -1), _number(settings, "segment.ms", 0)
        wait = None if retention < 0 else timedelta(milliseconds=retention + segment)
        condition, without = "retention.ms and segment.ms together", "retention.ms is unlimited"
    fault = _fault(name, trace, deleted=deleted)
    was = trace.content
    if not was:
        return Place(name, 0, 0, _left(name, trace), now, "", fault)
    if wait is None:
        return Place(name, was, 0, _left(name, trace), None, without, fault or (without if deleted else None))
    since = now if trace.since_ms < 0 or trace.live else datetime.fromtimestamp(trace.since_ms / 1000, UTC)
    until = since + wait
    if fault is None and deleted and until + _SLACK < now:
        fault = f"overdue: it should have been gone by {until:%Y-%m-%d %H:%M}Z"
    return Place(name, was, 0, _left(name, trace), until, condition, fault)


def _left(name: str, trace: Trace) -> str:
    compacted = TOPICS[name].cleanup_policy == COMPACT
    parts = [
        f"{len(trace.live)} records that nothing supersedes" if trace.live else "",
        f"{trace.former} former records until {'compaction' if compacted else 'retention'}" if trace.former else "",
        f"{trace.ids} with ids only" if trace.ids else "",
        f"{trace.mentions} of other rows in which the address stands" if trace.mentions else "",
        f"{trace.unreadable} that cannot be read" if trace.unreadable else "",
    ]
    return ", ".join(filter(None, parts)) or "nothing"


def _fault(name: str, trace: Trace, *, deleted: bool) -> str | None:
    if not deleted:
        return None
    states = name.endswith("-state") or name in ENTITIES
    if trace.live:
        more = f" and {len(trace.live) - 3} more" if len(trace.live) > 3 else ""  # noqa: PLR2004 as many as fit a line
        return f"no tombstone supersedes {', '.join(trace.live[:3])}{more}"
    return (
        f"{trace.unreadable} states cannot be read: whose they are is not known"
        if states and trace.unreadable
        else None
    )


def _number(settings: Settings, name: str, default: int) -> int:
    value = settings.get(name)
    return default if value is None else int(value)
