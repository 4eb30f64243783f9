"""Which events may have ended a worker: only what was alone in work, as noted before, is set aside."""

from collections.abc import Callable

import pytest

from streams.engine.guard import note
from streams.engine.membership import Committed
from streams.engine.poison import DEATHS, SLICE, Suspects
from streams.engine.source import Record

AT = ("words", 0)
OTHER = ("words", 1)


class Killed(Exception):  # noqa: N818 it is what happens to a process
    """The worker is dead."""


class Group:
    """What survives workers: the positions of their group, with notes."""

    def __init__(self, count: int) -> None:
        self.records = [Record(*at, offset, b"", b"") for offset in range(count) for at in (AT, OTHER)]
        self.committed: dict[tuple[str, int], Committed] = {}
        self.done: list[Record] = []
        self.set_aside: list[Record] = []
        self.sizes: list[int] = []

    def live(self, dies: Callable[[Record], bool] = lambda _: False, *, ends_in_order: bool = True) -> None:
        """Work on everything that is left, as the engine does; `dies` says at which event it is killed."""
        suspects = Suspects(100_000)
        positions = {at: self.committed[at].offset if at in self.committed else 0 for at in (AT, OTHER)}
        suspects.begin(self.committed, positions, dict.fromkeys((AT, OTHER), len(self.records) // 2))

        def commit() -> None:
            self.committed = {at: Committed(offset, note(suspects.note(at))) for at, offset in positions.items()}

        def work(part: list[Record]) -> None:
            self.sizes.append(len(part))
            for record in part:
                if dies(record):
                    raise Killed
            for record in part:
                self.done.append(record)
                positions[record.topic, record.partition] = record.offset + 1

        commit()
        left = [record for record in self.records if record.offset >= positions[record.topic, record.partition]]
        if not suspects.careful:
            work(left)
        else:
            for part, alone in suspects.parts(left):
                if alone and suspects.is_poison(part[0]):
                    self.set_aside += part
                    positions[part[0].topic, part[0].partition] = part[0].offset + 1
                else:
                    suspects.take(part, alone=alone)
                    commit()
                    work(part)
                suspects.done(part)
        if ends_in_order:
            suspects.rest()
        commit()

    def lives(self, dies: Callable[[Record], bool], most: int = 20) -> int:
        """Let workers follow each other until one is not killed; return how many were."""
        for deaths in range(most):
            try:
                self.live(dies)
            except Killed:
                continue
            return deaths
        raise AssertionError("they never stop dying")


def test_an_event_that_kills_is_set_aside_and_no_other():
    group = Group(1_000)
    deadly = Record(*AT, 400, b"", b"")
    assert group.lives(lambda record: record == deadly) == 2 + DEATHS
    assert group.set_aside == [deadly]
    assert set(group.done) == set(group.records) - {deadly}


def test_two_events_that_kill_are_both_set_aside():
    group = Group(1_000)
    deadly = [Record(*AT, 400, b"", b""), Record(*AT, 401, b"", b""), Record(*OTHER, 900, b"", b"")]
    group.lives(lambda record: record in deadly)
    assert sorted(group.set_aside) == sorted(deadly)
    assert set(group.done) == set(group.records) - set(deadly)


def test_without_an_end_out_of_order_nothing_is_divided():
    group = Group(1_000)
    group.live()
    assert group.sizes == [2_000]
    group.live()
    assert group.sizes == [2_000, 0]


def test_whoever_kills_workers_in_the_same_place_sets_nothing_aside_unless_one_event_was_alone_in_work_twice():
    """Ends in a slice narrow what is in doubt; ends with different events alone in work count for none of them."""
    group = Group(1_000)
    for place in (100, 100, 100, 101, 102, 103):
        with pytest.raises(Killed):
            group.live(lambda record, place=place: record.offset == place and record.partition == 0)
    assert group.set_aside == []
    group.live()
    assert (group.set_aside, set(group.done)) == ([], set(group.records))


def test_an_end_in_order_clears_what_was_counted():
    group = Group(1_000)
    deadly = Record(*AT, 400, b"", b"")
    for _ in range(3):
        with pytest.raises(Killed):
            group.live(lambda record: record == deadly)
    suspects = Suspects(100_000)
    positions = {at: left.offset for at, left in group.committed.items()}
    suspects.begin(group.committed, positions, dict.fromkeys(positions, 1_000))
    suspects.rest()
    group.committed = {at: Committed(offset, note(suspects.note(at))) for at, offset in positions.items()}
    with pytest.raises(Killed):
        group.live(lambda record: record == deadly)
    group.live()
    assert group.set_aside == []


def test_an_end_that_is_not_the_events_fault_is_not_counted():
    suspects = Suspects(100_000)
    record = Record(*AT, 5, b"", b"")
    left = {AT: Committed(5, note({"@running": 1, "@from": 5, "@to": 9, "@alone": 1}))}
    suspects.begin(left, {AT: 5}, {AT: 20})
    assert suspects.is_poison(record)
    left = {AT: Committed(5, note({"@running": 1, "@from": 5, "@to": 9, "@alone": 0}))}
    suspects.begin(left, {AT: 5}, {AT: 20})
    suspects.take([record], alone=True)
    suspects.absolve()
    left = {AT: Committed(5, note(suspects.note(AT)))}
    suspects.begin(left, {AT: 5}, {AT: 20})
    assert not suspects.is_poison(record)


def test_doubt_ends_where_nobody_can_have_been():
    suspects = Suspects(2 * SLICE)
    suspects.begin({AT: Committed(10, note({"@running": 1}))}, {AT: 10}, {AT: 5_000})
    assert suspects.careful
    suspects.done([Record(*AT, 9 + 2 * SLICE, b"", b"")])
    assert not suspects.careful
    suspects.begin({AT: Committed(10, "not ours")}, {AT: 10}, {AT: 5_000})
    assert not suspects.careful
