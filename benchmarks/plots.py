"""Draws the plots of docs/ from a part's results: `plots.py PART RESULTS DIRECTORY`.

Run by support/draw.py with the libraries of benchmarks/requirements.txt. The same results give the same bytes.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
from matplotlib import pyplot as plt
from matplotlib.axes import Axes

#: What a panel of growth varies: all else stays as it is at the point with the most conversations, or at the first.
_AXES = ("conversations", "workers", "partitions")
_WHAT = (*_AXES, "messages", "statuses")
#: By plot: field of a point, what one of it is, words.
_GROWTH = {
    "throughput": ("per_second", 1, "events/s"),
    "memory": ("peak_bytes", 2**20, "peak of all workers, MiB"),
    "restart": ("restart_s", 1, "ready again, s"),
}


def ingress(figures: dict[str, Any], directory: Path) -> None:
    """Draw answers per second by number of connections."""
    figure, axes = plt.subplots(figsize=(8, 4))
    for key in dict.fromkeys(row["key"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["key"] == key]
        counts = [str(row["connections"]) for row in rows]
        axes.plot(counts, [row["per_second"] for row in rows], marker="o", label=rows[0]["name"])
    axes.set(xlabel="connections", ylabel="answers/s", ylim=(0, None))
    axes.legend()
    _save(figure, directory / "ingress.svg")


def join(figures: dict[str, Any], directory: Path) -> None:
    """Draw events per second by contestant."""
    figure, axes = plt.subplots(figsize=(8, 3))
    rows = figures["rows"][::-1]
    bars = axes.barh([row["name"] for row in rows], [row["per_second"] for row in rows])
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.set(xlabel="events/s")
    axes.margins(x=0.15)
    _save(figure, directory / "join.svg")


def growth(figures: dict[str, Any], directory: Path) -> None:
    """Draw throughput, memory and restart, each by conversations, workers and partitions."""
    points = figures["points"]
    most = max(points, key=lambda point: point["conversations"])
    for name, (field, unit, words) in _GROWTH.items():
        figure, panels = plt.subplots(1, len(_AXES), figsize=(10, 3), sharey=True)
        for axes, varied in zip(panels, _AXES, strict=True):
            fixed = most if varied == "conversations" else points[0]
            _panel(axes, varied, [point for point in points if _stays(point, fixed, varied)], field, unit)
        panels[0].set(ylabel=words, ylim=(0, None))
        _save(figure, directory / f"growth-{name}.svg")


def _stays(point: dict[str, Any], fixed: dict[str, Any], varied: str) -> bool:
    return all(point[other] == fixed[other] for other in _WHAT if other != varied)


def _panel(axes: Axes, varied: str, points: list[dict[str, Any]], field: str, unit: int) -> None:
    ordered = sorted(points, key=lambda point: point[varied])
    counts = [f"{point[varied]:,}" for point in ordered]
    axes.plot(counts, [point[field] / unit for point in ordered], marker="o")
    axes.set(xlabel=varied)


def _save(figure: Any, path: Path) -> None:
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)


if __name__ == "__main__":
    mpl.rcParams.update({"svg.hashsalt": "openbsp", "svg.fonttype": "none", "axes.grid": True, "figure.dpi": 72})
    part, results, target = sys.argv[1:]
    Path(target).mkdir(parents=True, exist_ok=True)
    {"ingress": ingress, "join": join, "growth": growth}[part](
        json.loads(Path(results).read_text("utf-8"))["figures"], Path(target)
    )
