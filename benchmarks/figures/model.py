"""What a million messages a day cost, and what 100,000 events a second need: arithmetic on what was measured."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
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
    """For each event: seconds of processor time of each service and of the broker that it uses, and bytes."""

    bridge_s: float
    bridge_broker_s: float
    join_s: float
    join_broker_s: float
    input_bytes: float
    output_bytes: float
    changelog_bytes: float

    @classmethod
    def of(cls, ingress: Mapping[str, Any], join: Mapping[str, Any], growth: Mapping[str, Any]) -> "Costs":
        """Take them from the figures of these parts: the most connections, RocksDB, and growth's first point."""
        bridge = max(bridges(ingress), key=_connections)
        joined = next(row for row in join["rows"] if row["key"] == "ours-rocksdb")
        return cls(
            bridge["cpu_s"],
            bridge["broker_s"],
            joined["cpu_s"],
            growth["points"][0]["broker_s"],
            growth["input_bytes"],
            growth["output_bytes"],
            growth["changelog_bytes"],
        )

    def alone(self, ingress: Mapping[str, Any]) -> "Costs":
        """Return the same with what the bridge and its broker use for events that come one by one."""
        bridge = min(bridges(ingress), key=_connections)
        return replace(self, bridge_s=bridge["cpu_s"], bridge_broker_s=bridge["broker_s"])

    @property
    def broker_s(self) -> float:
        """What all replicas together use: none is taken to be cheaper than the leader."""
        return REPLICAS * (self.bridge_broker_s + self.join_broker_s)

    @property
    def stored_bytes(self) -> float:
        """What an event adds to the disks of all replicas."""
        return REPLICAS * (self.input_bytes + self.output_bytes + self.changelog_bytes)


def bridges(ingress: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the bridge's figures at each number of connections; none if the part failed."""
    return [row for row in ingress.get("rows", ()) if row["key"] == "bridge"]


def _connections(row: Mapping[str, Any]) -> int:
    return int(row["connections"])


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
        seconds = (costs.bridge_s, costs.join_s, costs.broker_s)
        return cls(events, *(events * each / 3600 for each in seconds), events * costs.stored_bytes / _GB)

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
        used_s = (costs.bridge_s, costs.join_s, costs.broker_s)
        bridges, workers, cores = (max(1, math.ceil(per_second * each / UTILISATION)) for each in used_s)
        written = per_second * costs.stored_bytes
        partitions = 2 ** math.ceil(math.log2(2 * workers))
        return cls(bridges, workers, partitions, cores, written / 1e6, written * _DAY_S * RETENTION_DAYS / 1e12)


_PAGE = """\
## What it costs

Computed from the figures of this run, not measured. Processor time is that of this machine.

| for each event | services | their broker | bytes |
| --- | --: | --: | --: |
| bridge, sources | {bridge:.0f} us | {bridge_broker:.0f} us | {sources} |
| bridge, events that come one by one | {alone:.0f} us | {alone_broker:.0f} us | |
| join, outputs | {join:.0f} us | {join_broker:.0f} us | {outputs} |
| changelogs | | | {changelogs} |

A message makes {events_per_message} events: its insert, three statuses, a tenth of its conversation's row, as in the
input of the join. Bytes and the broker's time with the join are those of growth's first point; the start of the worker
is in its time, what the topic between its two steps takes is not in the bytes. Each of {replicas}
replicas is taken to cost the broker as much as the one that was measured, which is too much. A processor is used to
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


def page(costs: Costs, alone: Costs) -> str:
    """Return both, as a section of the documentation; `alone` for events that come one by one."""
    day, need = Day.of(alone, 1_000_000), Cluster.of(costs, 100_000)
    return _PAGE.format(
        bridge=costs.bridge_s * 1e6,
        bridge_broker=costs.bridge_broker_s * 1e6,
        alone=alone.bridge_s * 1e6,
        alone_broker=alone.bridge_broker_s * 1e6,
        join=costs.join_s * 1e6,
        join_broker=costs.join_broker_s * 1e6,
        sources=f"{costs.input_bytes:,.0f}",
        outputs=f"{costs.output_bytes:,.0f}",
        changelogs=f"{costs.changelog_bytes:,.0f}",
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
