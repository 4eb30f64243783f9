"""Metrics of the bridge are those of all of its worker processes."""

from prometheus_client import CollectorRegistry, Gauge

from bridge.metrics import Metrics


def test_every_gauge_says_how_those_of_several_processes_become_one():
    """Without `across_processes` there would be a series for each process id, and no alert would hold for all."""
    gauges = [metric for metric, _ in Metrics(CollectorRegistry())._declared if isinstance(metric, Gauge)]
    assert gauges
    assert [gauge._name for gauge in gauges if gauge._multiprocess_mode == "all"] == []
