"""Positions and changelogs that others have changed: judged by what the cluster and the last owner say."""

import logging
from dataclasses import replace
from typing import cast

import pytest
from confluent_kafka import Consumer, TopicPartition

from streams.engine.damage import TOPIC, judge_changelog, judge_derived, judge_positions, noted_identities
from streams.engine.guard import note
from streams.engine.membership import Committed
from streams.engine.poison import DEATHS, Suspects
from streams.engine.restore import Changelog
from streams.engine.source import Record
from streams.engine.stores.memory import MemoryStore
from streams.engine.takeover import NOTHING, _incomplete, is_former

AT = ("messages", 0)
OURS = note({"streams-messages-changelog": 5})


def judge(left: Committed | None, first: int, end: int, damaged: tuple[int, ...] = (), identity: int | None = None):
    committed = {} if left is None else {AT: left}
    known = {} if identity is None else {"messages": identity}
    return judge_positions([AT], committed, {AT: (first, end)}, noting={"messages"}, damaged=damaged, identities=known)


@pytest.mark.parametrize("offset", [3, 5, 9])
def test_an_own_position_within_the_topic_is_where_reading_goes_on(offset: int):
    judged = judge(Committed(offset, OURS), 3, 9)
    assert (judged.positions[AT], judged.lost, judged.remarks) == (offset, {}, [])


def test_without_a_position_reading_begins_with_the_first_record_and_nothing_is_said():
    judged = judge(None, 3, 9)
    assert (judged.positions[AT], judged.lost, judged.remarks) == (3, {}, [])


def test_records_that_were_deleted_before_they_were_read_are_counted_and_said():
    judged = judge(Committed(3, OURS), 43, 90)
    assert (judged.positions[AT], judged.lost) == (43, {AT: 40})
    assert "messages[0]: 40 records were deleted before they were read" in judged.remarks[0]


def test_a_topic_that_is_shorter_than_what_was_read_was_created_again():
    judged = judge(Committed(10, OURS), 0, 9)
    assert (judged.positions[AT], judged.lost) == (0, {})
    assert "created again" in judged.remarks[0]


@pytest.mark.parametrize(("noted", "now"), [(1, 2), (1, None), (None, 2), (1, 1), (None, None)])
@pytest.mark.parametrize("first", [0, 12])
def test_a_topic_that_was_created_again_and_has_grown_beyond_the_position_is_read_from_its_first_record(
    noted: int | None, now: int | None, first: int
):
    ours = {"streams-messages-changelog": 5} | ({} if noted is None else {TOPIC: noted})
    judged = judge(Committed(10, note(ours)), first, 900, identity=now)
    if (noted, now) == (1, 2):
        assert (judged.positions[AT], judged.lost) == (first, {})
        assert "the topic was deleted and created again" in judged.remarks[0]
        assert judged.refused == [AT]
    else:
        assert judged.refused == []
        assert (judged.positions[AT], judged.lost) == (max(first, 10), {AT: 2} if first else {})


def test_the_id_of_a_topic_that_no_broker_tells_now_is_the_one_that_was_noted():
    def at(identity: int) -> Committed:
        return Committed(1, note({TOPIC: identity}))

    noted = {("a", 0): at(1), ("a", 1): at(1), ("b", 0): at(1), ("b", 1): at(2), ("c", 0): Committed(1, OURS)}
    assert noted_identities(noted) == {"a": 1}


@pytest.mark.parametrize("refused", [(), (AT,)], ids=["followed", "created again"])
def test_what_ended_workers_in_a_former_topic_says_nothing_of_the_one_that_has_its_name(
    refused: tuple[tuple[str, int], ...],
):
    ended = Committed(7, note({"@running": 1, "@from": 7, "@to": 8, "@alone": DEATHS - 1}))
    suspects = Suspects(bound=10)
    suspects.begin(replace(NOTHING, refused=refused).followed({AT: ended}), {AT: 7}, {AT: 9})
    record = Record(*AT, 7, b"key", b"value")
    assert suspects.is_poison(record) is (not refused)


@pytest.mark.parametrize("foreign", ["", "not ours", "[]", "{}"])
def test_what_somebody_else_committed_is_not_followed(foreign: str):
    judged = judge(Committed(9, foreign), 3, 9)
    assert (judged.positions[AT], judged.refused) == (3, [AT])
    assert "another program committed position 9" in judged.remarks[0]


def test_of_a_source_without_notes_that_cannot_be_told():
    at = ("contributions", 0)
    judged = judge_positions([at], {at: Committed(9, "")}, {at: (3, 9)}, noting={"messages"}, damaged=())
    assert judged.positions[at] == 9


def test_a_table_that_has_to_be_built_again_reads_from_the_first_record():
    assert judge(Committed(9, OURS), 3, 9, damaged=(0,)).positions[AT] == 3
    assert judge(Committed(9, OURS), 3, 9, damaged=(1,)).positions[AT] == 9


@pytest.mark.parametrize(
    ("position", "verified", "first", "end"),
    [(0, None, 0, 0), (0, 0, 0, 0), (7, 7, 0, 7), (5, 7, 0, 9), (0, 7, 0, 9), (0, None, 0, 9)],
)
def test_a_changelog_that_has_what_it_must_is_sound(position: int, verified: int | None, first: int, end: int):
    assert judge_changelog("log[0]", position, verified, first, end) is None


@pytest.mark.parametrize(
    ("position", "verified", "first", "end", "words"),
    [
        (7, 7, 0, 0, "created again"),
        (7, None, 0, 3, "created again"),
        (0, 7, 0, 3, "created again"),
        (0, 7, 7, 7, "emptied"),
        (5, 7, 6, 9, "emptied"),
    ],
)
def test_a_changelog_that_lacks_something_is_noticed(
    position: int, verified: int | None, first: int, end: int, words: str
):
    damage = judge_changelog("log[0]", position, verified, first, end)
    assert damage is not None
    assert words in damage.problem
    assert damage.lost


@pytest.mark.parametrize(("position", "end", "holds"), [(0, 9, False), (9, 9, True), (0, 0, True)])
def test_an_owner_that_ended_before_its_table_was_complete_has_lost_nothing(position: int, end: int, *, holds: bool):
    """So does a first owner that is killed before its second commit: its table is built again, without an alarm."""
    damage = judge_changelog("log[0]", position, 0, 0, end, holds=holds)
    assert damage is not None
    assert not damage.lost


def test_a_changelog_without_a_record_lacks_nothing_of_an_empty_store():
    assert judge_changelog("log[0]", 0, 0, 0, 0, holds=False) is None


def test_what_was_emptied_is_written_back_from_a_store_that_has_all_of_it():
    damage = judge_changelog("log[0]", 9, 9, 9, 9, holds=True)
    assert damage is not None
    assert (damage.lost, damage.rebuild) == (True, False)
    assert judge_changelog("log[0]", 9, 9, 9, 9, holds=False) is None


@pytest.mark.parametrize("position", [0, 5, 12])
def test_what_was_emptied_and_filled_again_is_whole(position: int):
    assert judge_changelog("log[0]", position, 12, 7, 12, known_first=7) is None
    again = judge_changelog("log[0]", position, 12, 10, 12, known_first=7, holds=True)
    assert again is not None
    assert again.rebuild is (position < 10)


def test_a_changelog_that_is_another_topic_is_built_again_whatever_it_has():
    damage = judge_changelog("log[0]", 7, 7, 0, 70, replaced=True)
    assert damage is not None
    assert (damage.lost, damage.rebuild) == (True, True)


@pytest.mark.parametrize(
    ("verified", "first", "end", "known_first", "replaced", "lost"),
    [
        (7, 0, 70, 0, True, True),
        (7, 0, 3, 0, False, True),
        (7, 7, 7, 0, False, True),
        (7, 9, 12, 7, False, True),
        (0, 0, 3, 0, False, False),
        (7, 0, 7, 0, False, None),
        (7, 3, 9, 3, False, None),
        (None, 0, 9, 0, False, None),
    ],
)
def test_a_derived_log_lacks_what_it_had_under_another_id_or_other_offsets(
    verified: int | None, first: int, end: int, known_first: int, *, replaced: bool, lost: bool | None
):
    damage = judge_derived("log[0]", verified, first, end, known_first=known_first, replaced=replaced)
    assert (None if damage is None else damage.lost) is lost


def read_up_to(position: int, *, count: int) -> dict[tuple[str, int], Changelog]:
    """Return changelogs of a topic, each with a store that has a row and has read so far."""
    changelogs = {}
    for number in range(count):
        store = MemoryStore()
        store.put(b"key", b"value")
        store.save_position(position)
        changelogs["log", number] = Changelog(store, 9, lambda _key, _kept, read: read)
    return changelogs


def test_a_store_of_a_former_changelog_is_read_again_where_the_present_one_is_whole():
    changelogs = read_up_to(3, count=2)
    consumer = cast("Consumer", Watermarks((0, 9), (0, 9)))
    found = _incomplete(consumer, changelogs, {("log", 0): 9, ("log", 1): 9}, {}, former={("log", 1)})
    assert found == (frozenset(), frozenset(), frozenset())
    left = [(each.store.position, each.store.get(b"key")) for each in changelogs.values()]
    assert left == [(3, b"value"), (0, None)]


@pytest.mark.parametrize("topic", [0, 5])
def test_a_takeover_that_is_cut_off_leaves_the_signs_that_a_table_is_incomplete(topic: int):
    """The next one has no other: nothing was noted of it. Once that is, the store has read what there is."""
    changelogs = read_up_to(3, count=1)
    at, changelog = next(iter(changelogs.items()))
    changelog.store.save_topic(4)
    consumer = cast("Consumer", Watermarks((7, 9)))
    for _ in range(2):
        assert _incomplete(consumer, changelogs, {at: 9}, {})[1] == {at}
        changelog.reach(9)
        assert (changelog.store.position, changelog.store.topic) == (3, 4)
    identities = {"log": topic} if topic else {}
    replace(NOTHING, rebuilt=frozenset({at}), log_ends={at: 9}, identities=identities).settle({at: changelog.store})
    assert (changelog.store.position, changelog.store.topic) == (9, topic or 4)


@pytest.mark.parametrize(("known", "told", "former"), [(0, 5, False), (5, 5, False), (4, 5, True), (4, None, False)])
def test_a_store_is_of_a_former_changelog_if_it_knows_another_id(known: int, told: int | None, *, former: bool):
    store = MemoryStore()
    store.save_topic(known)
    assert is_former(store, told) is former


class Watermarks:
    """A consumer that knows the first offset and the end of each partition, and nothing else."""

    def __init__(self, *bounds: tuple[int, int]) -> None:
        self._bounds = bounds

    def get_watermark_offsets(self, at: TopicPartition, timeout: float) -> tuple[int, int]:
        del timeout
        return self._bounds[at.partition]


def test_of_changelogs_that_lack_something_those_that_lost_records_are_counted(caplog: pytest.LogCaptureFixture):
    """Not one whose last owner ended too early, for nothing of it is gone."""
    # Emptied with all of it on this disk; created again; its owner ended early; in order.
    bounds, verified = [(9, 9), (0, 2), (0, 9), (0, 9)], [9, 9, 0, 9]
    changelogs = read_up_to(9, count=4)
    with caplog.at_level(logging.WARNING):
        found, rebuilt, repaired = _incomplete(
            cast("Consumer", Watermarks(*bounds)),
            changelogs,
            {("log", number): end for number, end in enumerate(verified)},
            {},
        )
    assert found == {("log", 0), ("log", 1), ("log", 2)}
    assert rebuilt == {("log", 1), ("log", 2)}
    assert repaired == {("log", 0), ("log", 1)}
    events = [record.event for record in caplog.records]
    assert events == ["engine.changelog_emptied", "engine.changelog_incomplete", "engine.changelog_unverified"]
    print(f"figure: {len(repaired)} of {len(changelogs)} changelogs repaired; the operator saw: {', '.join(events)}")
