"""Prometheus' promtool, of the version that is pinned here: built of its Go module."""

from pathlib import Path

from support import go


def promtool() -> Path:
    """Return the program. The first time on a machine that takes some minutes; it is kept then."""
    # Without service discovery, which brings the libraries of all clouds.
    return go.built("promtool", "github.com/prometheus/prometheus", "v0.313.5", tags="remove_all_sd")
