"""What the report says of places, from the settings that the broker has and the traces that its topics have."""

from datetime import UTC, datetime, timedelta

from avro.catalogue import TOPICS
from bridge.erase.places import Compaction, Spooled, others, spools, stores, topics, views
from bridge.erase.search import Trace

NOW = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
NOW_MS = round(NOW.timestamp() * 1000)
HOUR = timedelta(hours=1)
HOUR_MS = "3600000"


def traces(**special: Trace) -> dict[str, Trace]:
    named = {name.replace("_", "-"): trace for name, trace in special.items()}
    return {name: Trace(former=1, since_ms=NOW_MS) for name in TOPICS} | named


def test_every_topic_of_the_catalogue_is_a_place():
    assert [place.name for place in topics({}, NOW, traces())] == list(TOPICS)


def test_of_a_topic_whose_settings_cannot_be_read_nothing_is_promised():
    assert {place.until for place in topics({}, NOW, traces())} == {None}
    assert all("DescribeConfigs" in place.condition for place in topics({}, NOW, traces()))


def test_of_a_topic_that_is_missing_nothing_is_said():
    assert {(place.was, place.until) for place in topics({}, NOW, {})} == {(None, None)}


def test_compaction_has_a_date_only_where_the_broker_has_a_limit():
    settings = {"message-state": {"max.compaction.lag.ms": HOUR_MS}, "conversation-state": {}}
    places = {place.name: place for place in topics(settings, NOW, traces())}
    assert places["message-state"].until == NOW + HOUR
    assert places["message-state"].fault is None
    assert places["conversation-state"].until is None
    assert "max.compaction.lag.ms" in places["conversation-state"].condition
    assert places["conversation-state"].fault


def test_retention_is_counted_from_the_newest_record_of_a_segment():
    settings = {
        "messages": {"retention.ms": HOUR_MS, "segment.ms": HOUR_MS},
        "conversations": {"retention.ms": "-1", "segment.ms": HOUR_MS},
        "dead-letters": {"retention.ms": HOUR_MS, "segment.ms": HOUR_MS},
    }
    found = topics(settings, NOW, traces(dead_letters=Trace(former=3, since_ms=NOW_MS)))
    places = {place.name: place for place in found}
    assert places["messages"].until == NOW + 2 * HOUR
    assert places["conversations"].until is None
    assert places["dead-letters"].left.startswith("3 ")


def test_what_is_there_after_its_date_is_a_fault_and_before_it_is_not():
    settings = {name: {"retention.ms": HOUR_MS, "max.compaction.lag.ms": HOUR_MS} for name in TOPICS}
    for age, overdue in ((timedelta(0), False), (HOUR, False), (3 * HOUR, True)):
        old = {name: Trace(former=1, since_ms=NOW_MS - round(age.total_seconds() * 1000)) for name in TOPICS}
        faults = [place.fault for place in topics(settings, NOW, old)]
        assert [bool(fault) for fault in faults] == [overdue] * len(TOPICS), age
        assert all(fault is None or fault.startswith("overdue") for fault in faults)


def test_nothing_is_left_where_nothing_is_found():
    settings = {name: {"retention.ms": "-1"} for name in TOPICS}
    empty = {name: Trace(ids=2) for name in TOPICS}
    assert {(place.left, place.until, place.fault) for place in topics(settings, NOW, empty)} == {
        ("2 with ids only", NOW, None)
    }


def test_content_that_no_tombstone_supersedes_is_a_fault_but_in_a_plan():
    settings = {"message-state": {"max.compaction.lag.ms": HOUR_MS}}
    live = traces(message_state=Trace(live=["message-state:0:7"]))
    fault = {place.name: place for place in topics(settings, NOW, live)}["message-state"].fault
    assert fault is not None
    assert "message-state:0:7" in fault
    assert {place.fault for place in topics(settings, NOW, live, deleted=False)} == {None}


def test_states_that_cannot_be_read_are_a_fault_as_they_may_be_the_persons():
    settings = {name: {"retention.ms": HOUR_MS, "max.compaction.lag.ms": HOUR_MS} for name in TOPICS}
    unreadable = {name: Trace(unreadable=1) for name in TOPICS}
    faulty = {place.name for place in topics(settings, NOW, unreadable) if place.fault}
    tables = {"streams-contacts-changelog", "streams-addresses-changelog"}
    assert faulty == {"message-state", "conversation-state", *tables}


def test_places_without_a_date_say_on_what_it_depends():
    for place in [
        *others(),
        *spools(None, [], NOW),
        *spools(2, [], NOW),
        views(3, 1),
        stores(None, NOW, NOW, deleted=True),
    ]:
        assert place.until is not None or place.condition
    assert "unknown" in spools(None, [], NOW)[0].left
    assert "2 events wait" in spools(2, [], NOW)[0].left
    assert spools(0, [], NOW)[0].until == NOW


def test_a_searched_spool_is_clean_or_says_what_it_has():
    clean, waiting, residue = spools(0, [Spooled("a", 0, 0, 0), Spooled("b", 2, 1, 9), Spooled("c", 0, 0, 4)], NOW)
    assert (clean.left, clean.fault, clean.until) == ("nothing: the files were searched", None, NOW)
    assert waiting.left == "2 events wait, 1 events in quarantine"
    assert waiting.fault == "3 events are in the files"
    assert residue.fault


def test_views_that_show_a_row_are_a_fault():
    assert views(3, 0).fault is None
    assert views(3, 1).fault
    assert (views(3, 1).was, views(3, 1).gone) == (3, 2)


def test_stores_have_a_date_where_the_worker_says_how_often_it_compacts_them():
    earlier = Compaction(every=HOUR, last=NOW - HOUR)
    assert stores(earlier, NOW, NOW, deleted=True).until == NOW + HOUR
    later = stores(Compaction(every=HOUR, last=NOW + HOUR), NOW, NOW + 2 * HOUR, deleted=True)
    assert "has compacted its stores since" in later.left
    assert later.until == NOW + 2 * HOUR
    assert stores(None, NOW, NOW, deleted=True).until is None
    assert "memory" in stores(Compaction(timedelta(), NOW), NOW, NOW, deleted=True).left
