"""A process's metrics and readiness, and the change between two readings. Pure but for `ask`."""

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import httpx
from prometheus_client.parser import text_string_to_metric_families

from openbsp.bearer import bearer, hindrance

#: Labels and their values, sorted.
Labels = tuple[tuple[str, str], ...]
Series = Mapping[str, Mapping[Labels, float]]

_MOST_CHARACTERS = 200


@dataclass(frozen=True, slots=True)
class Reading:
    """A process at a moment. `fault` says why there are no numbers, if there are none; `remarks` are for people."""

    at: float
    state: str
    remarks: tuple[str, ...] = ()
    fault: str | None = None
    series: Series = field(default_factory=dict)

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of a metric's series that have these labels; 0 if there are none."""
        wanted = set(labels.items())
        return sum(value for found, value in self.series.get(name, {}).items() if wanted <= set(found))

    def by(self, name: str, label: str) -> dict[str, float]:
        """Return the sums of a metric by the values of a label."""
        sums: dict[str, float] = defaultdict(float)
        for found, value in self.series.get(name, {}).items():
            sums[dict(found).get(label, "")] += value
        return dict(sums)


def ask(client: httpx.Client, token: str | None) -> Reading:
    """Ask the process at the client's base address for its readiness and its metrics."""
    headers = {} if token is None else {"Authorization": bearer(token)}
    try:
        ready = client.get("/readyz", headers=headers)
        metrics = client.get("/metrics", headers=headers)
    except httpx.HTTPError as error:
        return Reading(time.monotonic(), "down", fault=f"does not answer: {hindrance(error)}")
    state, remarks = readiness(ready.status_code, _json(ready))
    if metrics.status_code in {HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND}:
        fault = "gives no metrics to this token: --bridge-token, --streams-token (*_METRICS_TOKEN) are for all"
        return Reading(time.monotonic(), state, remarks, fault)
    if metrics.status_code != HTTPStatus.OK:
        return Reading(time.monotonic(), state, remarks, f"answers {metrics.status_code} to /metrics")
    try:
        return Reading(time.monotonic(), state, remarks, series=parse(metrics.text))
    except ValueError:
        return Reading(time.monotonic(), state, remarks, "does not answer with metrics: is it one of ours?")


def parse(text: str) -> Series:
    """Return the samples of a text in Prometheus' format, by name and labels. Raises ValueError."""
    series: dict[str, dict[Labels, float]] = defaultdict(dict)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            series[sample.name][tuple(sorted(sample.labels.items()))] = sample.value
    return series


def readiness(status: int, said: Any) -> tuple[str, tuple[str, ...]]:
    """Return the state in an answer of /readyz, and its notes for operators."""
    if not isinstance(said, dict):
        return ("ready" if status == HTTPStatus.OK else "unready"), ()
    state = str(said.get("status", said.get("reason", ""))) if status == HTTPStatus.OK else "unready"
    remarks = [f"{server}: {problem}" for server, problem in (said.get("waiting_for") or {}).items()]
    remarks += [str(remark) for remark in said.get("remarks") or ()]
    remarks += [f"limit reached: {limit}" for limit in said.get("limits_reached") or ()]
    spool = said.get("spool") or {}
    for name, words in (
        ("failing", "the spool cannot be written"),
        ("last_drain_failure", "the spool does not drain"),
        ("quarantined", "events in quarantine"),
        ("damaged_files", "damaged spool files"),
    ):
        if spool.get(name):
            remarks.append(f"{words}: {spool[name]}")
    if said.get("last_publish_failure"):
        remarks.append(f"the last record was not published: {said['last_publish_failure']}")
    if status != HTTPStatus.OK and said.get("detail"):
        remarks.append(str(said["detail"]))
    return state, tuple(remark[:_MOST_CHARACTERS] for remark in remarks)


@dataclass(frozen=True, slots=True)
class Change:
    """The change between two readings of a process."""

    former: Reading
    now: Reading

    @property
    def seconds(self) -> float:
        """The seconds between them."""
        return max(self.now.at - self.former.at, 1e-9)

    def grown(self, name: str, **labels: str) -> float:
        """Return by how much a counter grew. A smaller value than before means that the process restarted.

        0 while one of the readings has no numbers: when the present counts arose is unknown.
        """
        if self.former.fault is not None or self.now.fault is not None:
            return 0.0
        before, after = self.former.total(name, **labels), self.now.total(name, **labels)
        return after - before if after >= before else after

    def rate(self, name: str, **labels: str) -> float | None:
        """Return a counter's growth per second; None while one of the readings has no numbers."""
        if self.former.fault is not None or self.now.fault is not None:
            return None
        return self.grown(name, **labels) / self.seconds

    def quantile(self, histogram: str, share: float) -> float | None:
        """Return the value below which this share of the new observations lies; None if there were none.

        As precise as the histogram's buckets; beyond the last of them, infinity.
        """
        name = f"{histogram}_bucket"
        counts: dict[float, float] = {}
        for labels in self.now.series.get(name, {}):
            # Trap: other labels would mix histograms; the same bound of all of them is one bucket here.
            text = dict(labels)["le"]
            counts[float(text)] = self.grown(name, le=text)
        total = counts.get(math.inf, 0.0)
        if not total:
            return None
        former_bound, former_count = 0.0, 0.0
        for bound in sorted(counts):
            count = counts[bound]
            if count >= share * total:
                inside = count - former_count
                if math.isinf(bound) or not inside:
                    return bound
                return former_bound + (bound - former_bound) * (share * total - former_count) / inside
            former_bound, former_count = bound, count
        return math.inf


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None
