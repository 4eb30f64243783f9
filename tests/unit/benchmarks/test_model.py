"""The model of cost: arithmetic that a reader can follow."""

from dataclasses import replace

import pytest
from figures.model import EVENTS_PER_MESSAGE, REPLICAS, UTILISATION, Cluster, Costs, Day, page

COSTS = Costs(
    bridge_s=100e-6,
    bridge_broker_s=20e-6,
    join_s=150e-6,
    join_broker_s=25e-6,
    input_bytes=500,
    output_bytes=1000,
    changelog_bytes=700,
)


def test_costs_are_those_of_the_most_connections_of_rocksdb_and_of_the_first_point():
    ingress = {
        "rows": [
            {"key": "bridge", "connections": 64, "cpu_s": 9, "broker_s": 8},
            {"key": "bridge", "connections": 256, "cpu_s": 1, "broker_s": 2},
            {"key": "nothing", "connections": 256, "cpu_s": 9, "broker_s": 9},
        ]
    }
    join = {"rows": [{"key": "ours-memory", "cpu_s": 9}, {"key": "ours-rocksdb", "cpu_s": 3}]}
    points = [{"cpu_s": 9, "broker_s": 4}, {"cpu_s": 9, "broker_s": 9}]
    growth = {"points": points, "input_bytes": 5, "output_bytes": 6, "changelog_bytes": 7}
    costs = Costs.of(ingress, join, growth)
    assert costs == Costs(1, 2, 3, 4, 5, 6, 7)
    assert costs.alone(ingress) == Costs(9, 8, 3, 4, 5, 6, 7)


def test_a_day_is_the_product():
    day = Day.of(COSTS, 1_000_000)
    events = 1_000_000 * EVENTS_PER_MESSAGE
    assert day.bridge_h == pytest.approx(events * 100e-6 / 3600)
    assert day.join_h == pytest.approx(events * 150e-6 / 3600)
    assert day.broker_h == pytest.approx(events * REPLICAS * 45e-6 / 3600)
    assert day.stored_gb == pytest.approx(events * REPLICAS * 2200 / 1e9)
    assert Day.of(COSTS, 2_000_000).usd == pytest.approx(2 * day.usd)


def test_a_cluster_has_room_for_its_rate():
    need = Cluster.of(COSTS, 100_000)
    for processes, seconds in ((need.bridges, 100e-6), (need.workers, 150e-6), (need.broker_cores, REPLICAS * 45e-6)):
        assert 100_000 * seconds <= processes * UTILISATION
        assert 100_000 * seconds > (processes - 1) * UTILISATION
    assert need.workers == 25
    assert need.partitions == 64


def test_the_smallest_cluster_has_one_of_each():
    need = Cluster.of(COSTS, 1)
    assert (need.bridges, need.workers, need.partitions, need.broker_cores) == (1, 1, 2, 1)


def test_the_page_has_both():
    text = page(COSTS, replace(COSTS, bridge_s=300e-6, bridge_broker_s=320e-6))
    assert "are 4.1 million events, 47 a second" in text
    assert "| 0.34 | 0.17 | 1.18 |" in text
    assert "| 17 | 25 | 64 | 23 | 660 MB/s | 399 TB |" in text
