"""The model of cost: arithmetic that a reader can follow."""

import pytest
from figures.model import EVENTS_PER_MESSAGE, REPLICAS, UTILISATION, Cluster, Costs, Day, page

COSTS = Costs(bridge_s=100e-6, join_s=150e-6, broker_s=45e-6, stored_bytes=2200)
USE = {
    "bridge_s": 300e-6,
    "join_s": 1500e-6,
    "broker_s": 345e-6,
    "source_bytes": 500.0,
    "between_bytes": 200.0,
    "changelog_bytes": 700.0,
    "output_bytes": 800.0,
}
INGRESS = {
    "rows": [
        {"key": "bridge", "connections": 64, "cpu_s": 9, "broker_s": 9},
        {"key": "bridge", "connections": 256, "cpu_s": 100e-6, "broker_s": 20e-6},
        {"key": "nothing", "connections": 256, "cpu_s": 9, "broker_s": 9},
    ]
}
GROWTH = {
    "points": [
        {"statuses": 4, "conversations": 2_000_000, "cpu_s": 9, "broker_s": 9},
        {"statuses": 1, "conversations": 1_000_000, "cpu_s": 150e-6, "broker_s": 25e-6},
        {"statuses": 1, "conversations": 100_000, "cpu_s": 9, "broker_s": 9},
    ]
}


def test_costs_of_events_that_come_one_by_one_are_those_of_the_steady_load():
    assert Costs.one_by_one(USE) == Costs(300e-6, 1500e-6, 345e-6, 2200)


def test_costs_at_once_are_those_of_the_most_connections_and_conversations_that_are_inserted():
    assert Costs.at_once(INGRESS, GROWTH, USE) == COSTS


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
    text = page(INGRESS, GROWTH, USE)
    assert "| one by one, 200 a second | 300 us | 1,500 us | 345 us |" in text
    assert "| as many at once as there are | 100 us | 150 us | 45 us |" in text
    assert "| neither compressed nor compacted | 500 | 200 | 700 | 800 |" in text
    assert "are 4.1 million events, 47 a second" in text
    assert "| 0.34 | 1.71 | 1.18 |" in text
    assert "| 17 | 25 | 64 | 23 | 660 MB/s | 399 TB |" in text
