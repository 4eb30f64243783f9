"""Every place where something of what was erased may be, and until when. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from avro.catalogue import TOPICS

Settings = Mapping[str, str | None]

#: Kafka's own default: compaction waits without end.
_WITHOUT_END = 2**63 - 1
#: How long a broker takes to look for what is due, and to clean it: minutes, unless it is overloaded.
_CLEANER = "plus the time of the cleaner"
_TOLD = "an event with action `delete` for each row, and a tombstone in the state topics"


@dataclass(frozen=True, slots=True)
class Place:
    """A place: what is there, and when it is gone at the latest. `until` is None where there is no date."""

    name: str
    left: str
    until: datetime | None
    condition: str = ""


def topics(settings: Mapping[str, Settings], now: datetime, dead_letters: int) -> list[Place]:
    """Return the topics with what is left in them; `settings` are those that the broker has, by catalogue name.

    `dead_letters` is how many of those concern what was erased.
    """
    return [_topic(name, settings.get(name), now, dead_letters) for name in TOPICS]


def others(spooled: int | None) -> list[Place]:
    """Return the places that are no topics of rows; `spooled` is None where the bridge did not say."""
    waiting = "unknown: /readyz did not say" if spooled is None else f"{spooled} events wait"
    return [
        Place(
            "spool of each bridge",
            f"{waiting}; what has left it may be in free pages of its file",
            None,
            "until those pages are written again, or the directory of a stopped bridge with an empty spool is removed",
        ),
        Place(
            "stores of the workers",
            "only ids; former values may be in files that RocksDB has not compacted",
            None,
            "until RocksDB compacts them; a worker that starts with an empty data directory has none",
        ),
        Place(
            "memory, views, live page, log",
            "nothing: the views were asked, and content is never logged",
            datetime.now(UTC),
        ),
        Place(
            "consumers of the topics",
            "whatever they have kept",
            None,
            f"each gets {_TOLD}; what they keep is theirs to erase",
        ),
        Place(
            "OpenBSP itself",
            "its rows, unless they were deleted there",
            None,
            "erase there first: what it sends of other rows of the person comes in again",
        ),
    ]


def _topic(name: str, settings: Settings | None, now: datetime, dead_letters: int) -> Place:
    if settings is None:
        return Place(name, "unknown: its settings cannot be read", None, "needs the right DescribeConfigs")
    if TOPICS[name].cleanup_policy == "compact":
        lag = _number(settings, "max.compaction.lag.ms", _WITHOUT_END)
        left = (
            "a tombstone; former values until compaction"
            if name.endswith("-state")
            else "ids; former values until compaction"
        )
        if lag >= _WITHOUT_END:
            return Place(name, left, None, "set max.compaction.lag.ms: compaction has no date without it")
        return Place(name, left, now + timedelta(milliseconds=lag), f"in partitions that are written to, {_CLEANER}")
    retention = _number(settings, "retention.ms", -1)
    left = "former records until retention"
    if name == "dead-letters":
        left = f"{dead_letters} that name one of the rows, or have the address in their payload"
    if retention < 0:
        return Place(name, left, None, "retention.ms is without end")
    # Retention deletes segments, by the newest record in each.
    segment = _number(settings, "segment.ms", 0)
    return Place(name, left, now + timedelta(milliseconds=retention + segment), "retention.ms and segment.ms together")


def _number(settings: Settings, name: str, default: int) -> int:
    value = settings.get(name)
    return default if value is None else int(value)
