"""Metrics that are cheap to count and that the documentation can list.

prometheus_client takes a lock for each observation, so what happens often is counted in plain numbers and added when
somebody reads them.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from prometheus_client import Histogram

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase


@dataclass(frozen=True, slots=True)
class Description:
    """A line of the metrics reference."""

    name: str
    type: str
    labels: tuple[str, ...]
    meaning: str


def descriptions(declared: Iterable[tuple["MetricWrapperBase", tuple[str, ...]]]) -> Iterator[Description]:
    """Yield a line for each metric, which comes with its labels."""
    for metric, labels in declared:
        (family,) = metric.describe()
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield Description(name, family.type, labels, family.documentation)


def add_observations(histogram: Histogram, counts: Sequence[int], total: float) -> None:
    """Add many observations at once: how many fell into each bucket, the last being without bound, and their sum."""
    for bucket, count in zip(histogram._buckets, counts, strict=True):  # noqa: SLF001 there is no public way
        if count:
            bucket.inc(count)
    histogram._sum.inc(total)  # noqa: SLF001 as above
