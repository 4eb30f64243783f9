"""What a million messages a day cost, and what 100,000 events a second need: arithmetic on what was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Webhooks for each message: its insert, three statuses, and a tenth of a conversation's row (as in the join's input).
EVENTS_PER_MESSAGE = 4.1
#: What is left free of each processor, for peaks and for the time in which one of the machines is away.
UTILISATION = 0.6
REPLICAS = 3
RETENTION_DAYS = 7
#: Examples, in USD; whoever pays others puts in their own.
CORE_HOUR_USD = 0.04
GB_MONTH_USD = 0.08

_DAY_S = 86_400
_GB = 1e9


@dataclass(frozen=True)
class Costs:
    """For each event: seconds of processor time of bridge, workers and one replica's broker, and bytes in Kafka."""

    bridge_s: float
    join_s: float
    broker_s: float
    stored_bytes: float

    @classmethod
    def one_by_one(cls, use: Mapping[str, Any]) -> "Costs":
        """Take them from the join's steady load."""
        return cls(use["bridge_s"], use["join_s"], use["broker_s"], sum(_sizes(use)))

    @classmethod
    def at_once(cls, ingress: Mapping[str, Any], growth: Mapping[str, Any], use: Mapping[str, Any]) -> "Costs":
        """Take them from the most connections and the most conversations; bytes are those of the steady load.

        These conversations have nothing that is coalesced, as there is nothing at a rate at which it comes.
        """
        bridge = max(bridges(ingress), key=lambda row: int(row["connections"]))
        joined = max(inserts(growth), key=lambda point: int(point["conversations"]))
        broker_s = bridge["broker_s"] + joined["broker_s"]
        return cls(bridge["cpu_s"], joined["cpu_s"], broker_s, cls.one_by_one(use).stored_bytes)


def bridges(ingress: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the bridge's figures at each number of connections; none if the part failed."""
    return [row for row in ingress.get("rows", ()) if row["key"] == "bridge"]


def inserts(growth: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return growth's points whose messages are inserted and not updated."""
    return [point for point in growth.get("points", ()) if point["statuses"] == 1]


@dataclass(frozen=True)
class Day:
    """A day with so many messages: hours of a processor, and gigabytes in Kafka (before compression)."""

    events: float
    bridge_h: float
    join_h: float
    broker_h: float
    stored_gb: float

    @classmethod
    def of(cls, costs: Costs, messages: float) -> "Day":
        """Multiply."""
        events = messages * EVENTS_PER_MESSAGE
        seconds = (costs.bridge_s, costs.join_s, REPLICAS * costs.broker_s)
        return cls(events, *(events * each / 3600 for each in seconds), events * REPLICAS * costs.stored_bytes / _GB)

    @property
    def usd(self) -> float:
        """The price by the examples: processors at UTILISATION, and disk for RETENTION_DAYS."""
        hours = (self.bridge_h + self.join_h + self.broker_h) / UTILISATION
        return hours * CORE_HOUR_USD + self.stored_gb * RETENTION_DAYS / 30 * GB_MONTH_USD


@dataclass(frozen=True)
class Cluster:
    """What a steady rate needs. A bridge process and a worker use one processor each."""

    bridges: int
    workers: int
    partitions: int
    broker_cores: int
    disk_mb_per_s: float
    disk_tb: float

    @classmethod
    def of(cls, costs: Costs, per_second: float) -> "Cluster":
        """Divide. Two partitions for each worker at least, and a power of two, so that workers have equal shares."""
        used_s = (costs.bridge_s, costs.join_s, REPLICAS * costs.broker_s)
        bridges, workers, cores = (max(1, math.ceil(per_second * each / UTILISATION)) for each in used_s)
        written = per_second * REPLICAS * costs.stored_bytes
        partitions = 2 ** math.ceil(math.log2(2 * workers))
        return cls(bridges, workers, partitions, cores, written / 1e6, written * _DAY_S * RETENTION_DAYS / 1e12)


_PAGE = """\
## What it costs

Computed from the figures of the parts above, not measured. Processor time is that of their machine.

| for each event | bridge | workers | a broker |
| --- | --: | --: | --: |
| one by one, 200 a second | {alone} |
| as many at once as there are | {at_once} |

| bytes for each event | sources | between the join's steps | changelogs | outputs |
| --- | --: | --: | --: | --: |
| neither compressed nor compacted | {sizes} |

One by one: the load of the join's latency, a row and a message and a half with all statuses for each conversation;
starts are not in it, what the broker does for nobody is. At once: the bridge at the most connections, the join of
growth's most conversations, whose messages are inserted and not updated: nothing of it is coalesced. A message makes
{events_per_message} events: its insert, three statuses, a tenth of its conversation's row. Each of {replicas} replicas
is taken to cost the broker as much as the one that was measured, which is too much. A processor is used to
{utilisation:.0%}.

**A million messages a day** are {events:.1f} million events, {average:.0f} a second on average, so that
they come one by one:

| bridge, core hours | join, core hours | brokers, core hours | Kafka's disks | price a day |
| --: | --: | --: | --: | --: |
| {day.bridge_h:.2f} | {day.join_h:.2f} | {day.broker_h:.2f} | {day.stored_gb:.1f} GB | {day.usd:.2f} USD |

The price is an example: {core_usd} USD for an hour of a processor, {gb_usd} USD for a GB and month, everything kept
for {days} days without compression. At this size a cluster costs what its smallest machines cost.

**100,000 events a second**, steadily, need:

| bridge processes | workers | partitions | brokers' processors | written to disks | in {days} days |
| --: | --: | --: | --: | --: | --: |
| {need.bridges} | {need.workers} | {need.partitions} | {need.broker_cores} | {written} | {stored} |

A bridge process and a worker use one processor each. States and changelogs are compacted, so less of them stays.
"""


def page(ingress: Mapping[str, Any], growth: Mapping[str, Any], use: Mapping[str, Any]) -> str:
    """Return both, as a section of the documentation."""
    alone, at_once = Costs.one_by_one(use), Costs.at_once(ingress, growth, use)
    day, need = Day.of(alone, 1_000_000), Cluster.of(at_once, 100_000)
    return _PAGE.format(
        sizes=" | ".join(f"{size:,.0f}" for size in _sizes(use)),
        alone=_micros(alone),
        at_once=_micros(at_once),
        events_per_message=EVENTS_PER_MESSAGE,
        replicas=REPLICAS,
        utilisation=UTILISATION,
        events=day.events / 1e6,
        average=day.events / _DAY_S,
        day=day,
        core_usd=CORE_HOUR_USD,
        gb_usd=GB_MONTH_USD,
        days=RETENTION_DAYS,
        need=need,
        written=f"{need.disk_mb_per_s:,.0f} MB/s",
        stored=f"{need.disk_tb:,.0f} TB",
    )


def _sizes(use: Mapping[str, Any]) -> list[float]:
    """Return the bytes in the topics, in the order of the page."""
    return [use[f"{topics}_bytes"] for topics in ("source", "between", "changelog", "output")]


def _micros(costs: Costs) -> str:
    return " | ".join(f"{each * 1e6:,.0f} us" for each in (costs.bridge_s, costs.join_s, costs.broker_s))
