"""What the report says of places, from the settings that the broker has."""

from datetime import UTC, datetime, timedelta

from avro.catalogue import TOPICS
from bridge.erase.places import others, topics

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
HOUR_MS = "3600000"


def test_every_topic_of_the_catalogue_is_a_place():
    assert [place.name for place in topics({}, NOW, 0)] == list(TOPICS)


def test_of_a_topic_whose_settings_cannot_be_read_nothing_is_promised():
    assert {place.until for place in topics({}, NOW, 0)} == {None}
    assert all("DescribeConfigs" in place.condition for place in topics({}, NOW, 0))


def test_compaction_has_a_date_only_where_the_broker_has_a_limit():
    settings = {"message-state": {"max.compaction.lag.ms": HOUR_MS}, "conversation-state": {}}
    places = {place.name: place for place in topics(settings, NOW, 0)}
    assert places["message-state"].until == NOW + timedelta(hours=1)
    assert places["conversation-state"].until is None
    assert "max.compaction.lag.ms" in places["conversation-state"].condition


def test_retention_is_counted_from_the_newest_record_of_a_segment():
    settings = {
        "messages": {"retention.ms": HOUR_MS, "segment.ms": HOUR_MS},
        "conversations": {"retention.ms": "-1", "segment.ms": HOUR_MS},
        "dead-letters": {"retention.ms": HOUR_MS, "segment.ms": HOUR_MS},
    }
    places = {place.name: place for place in topics(settings, NOW, 3)}
    assert places["messages"].until == NOW + timedelta(hours=2)
    assert places["conversations"].until is None
    assert places["dead-letters"].left.startswith("3 ")


def test_places_without_a_date_say_on_what_it_depends():
    for place in [*others(None), *others(2)]:
        assert place.until is not None or place.condition
    assert "unknown" in others(None)[0].left
    assert "2 events wait" in others(2)[0].left
