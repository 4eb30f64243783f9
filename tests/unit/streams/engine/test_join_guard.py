"""The guard knows which records of its logs are not its own, until they have been repaired."""

import asyncio

from streams.engine.guard import Gap, Guard, note, noted

LOG = ("state", 3)
OTHER = ("state", 4)


class FakeLogs:
    """Logs whose ends and keys a test says."""

    def __init__(self) -> None:
        self.told: dict[tuple[str, int], int] = {}
        self.asked: list[list[tuple[str, int]]] = []
        self.during = lambda: None

    async def ends(self, logs):
        self.asked.append(logs)
        self.during()
        return {log: self.told[log] for log in logs}

    async def keys(self, gap):
        return {f"{gap.topic}-{offset}".encode() for offset in range(gap.start, gap.end)}


def guard_of(**ends: int) -> tuple[Guard, FakeLogs]:
    logs = FakeLogs()
    guard = Guard(logs)
    guard.begin({LOG: ends["log"], OTHER: ends.get("other", 0)})
    logs.told = {LOG: ends["log"], OTHER: ends.get("other", 0)}
    return guard, logs


def test_own_records_in_a_row_are_no_gap():
    guard, _ = guard_of(log=10)
    for offset in (10, 11, 12):
        guard.written(*LOG, offset)
    assert guard.gaps == []
    assert guard.end(*LOG) == 13
    assert guard.verified() == {LOG: 13, OTHER: 0}


def test_a_foreign_record_before_an_own_one_is_a_gap_until_it_is_repaired():
    """And nothing behind it counts as verified, whatever the worker writes there."""
    guard, _ = guard_of(log=10)
    guard.written(*LOG, 12)
    guard.written(*LOG, 13)
    guard.written(*LOG, 17)
    first, second = Gap(*LOG, 10, 12), Gap(*LOG, 14, 17)
    assert guard.gaps == [first, second]
    assert guard.end(*LOG) == 18
    assert guard.verified() == {LOG: 10, OTHER: 0}
    keys = asyncio.run(guard.keys([first]))
    assert keys == {LOG: {b"state-10", b"state-11"}}
    guard.repaired([first])
    assert guard.gaps == [second]
    assert guard.verified() == {LOG: 14, OTHER: 0}
    guard.repaired([second])
    assert guard.verified() == {LOG: 18, OTHER: 0}


def test_a_foreign_record_after_the_last_own_one_is_found_by_looking():
    guard, logs = guard_of(log=10, other=5)
    logs.told = {LOG: 10, OTHER: 8}
    asyncio.run(guard.look(lambda: True))
    assert guard.gaps == [Gap(*OTHER, 5, 8)]
    assert guard.verified() == {LOG: 10, OTHER: 5}
    guard.written(*OTHER, 8)
    assert guard.gaps == [Gap(*OTHER, 5, 8)]
    asyncio.run(guard.look(lambda: True))
    assert guard.end(*OTHER) == 9


def test_what_a_predecessor_left_unverified_is_a_gap_from_the_beginning():
    guard, logs = guard_of(log=10)
    logs.told[LOG] = 25
    asyncio.run(guard.look(lambda: True))
    assert guard.gaps == [Gap(*LOG, 10, 25)]
    assert guard.verified()[LOG] == 10


def test_own_records_on_their_way_are_not_taken_for_foreign_ones():
    """Neither while the broker is asked, nor when the answer is older than an acknowledgement."""
    guard, logs = guard_of(log=10)
    logs.told[LOG] = 11
    asyncio.run(guard.look(lambda: False))
    assert logs.asked == []
    logs.during = lambda: guard.written(*LOG, 10)
    asyncio.run(guard.look(lambda: True))
    assert guard.gaps == []
    answers = iter([True, False])
    logs.during = lambda: None
    logs.told[LOG] = 12
    asyncio.run(guard.look(lambda: next(answers)))
    assert guard.gaps == []


def test_a_log_that_was_cut_is_owed_until_all_of_it_is_behind_its_former_end():
    """Who took over a shorter log would lack what was cut off; and who had read that would skip what came instead."""
    guard, _ = guard_of(log=10, other=3)
    whole = Gap(*LOG, 0, 4)
    assert not guard.written(*LOG, 10)
    assert guard.written(*LOG, 4)
    assert guard.gaps == [whole]
    assert guard.verified() == {LOG: 0, OTHER: 3}
    assert not guard.written(*LOG, 5)  # told once
    guard.repaired([whole])
    assert guard.gaps == [Gap(*LOG, 0, 6)]  # with the keys of what was written before the former end
    for offset in range(6, 13):
        assert not guard.written(*LOG, offset)
    guard.repaired(guard.gaps)
    assert guard.gaps == [Gap(*LOG, 0, 11)]
    guard.written(*LOG, 13)
    guard.repaired(guard.gaps)
    assert guard.gaps == []
    assert guard.verified() == {LOG: 14, OTHER: 3}
    assert guard.written(*LOG, 12)  # the next accident


def test_what_was_cut_off_of_a_gap_is_not_asked_for():
    """Nobody could read it, and the repair of all other logs would wait for it."""
    guard, _ = guard_of(log=10)
    guard.written(*LOG, 20)
    lost = guard.gaps
    assert guard.written(*LOG, 15)
    assert guard.gaps == [Gap(*LOG, 0, 15)]
    guard.repaired(lost)  # its keys were read before
    assert guard.gaps == [Gap(*LOG, 0, 15)]


def test_a_log_that_is_cut_again_is_read_no_further_than_it_goes():
    guard, _ = guard_of(log=100)
    assert guard.written(*LOG, 90)
    for offset in range(91, 96):
        guard.written(*LOG, offset)
    guard.repaired([Gap(*LOG, 0, 90)])
    assert guard.gaps == [Gap(*LOG, 0, 96)]
    assert not guard.written(*LOG, 92)  # told already
    assert guard.gaps == [Gap(*LOG, 0, 92)]
    guard.written(*LOG, 93)
    assert guard.gaps == [Gap(*LOG, 0, 92)]


def test_a_new_beginning_forgets_the_old_logs():
    guard, _ = guard_of(log=10)
    guard.written(*LOG, 12)
    guard.begin({OTHER: 7})
    guard.written(*LOG, 20)
    assert guard.gaps == []
    assert guard.end(*LOG) is None
    assert guard.verified() == {OTHER: 7}


def test_nothing_is_asked_when_nothing_is_guarded():
    guard, logs = guard_of(log=10)
    guard.begin({})
    asyncio.run(guard.look(lambda: True))
    assert logs.asked == []


def test_verified_ends_come_back_from_their_note():
    ends = {"message-state": 2**40, "streams-messages-changelog": 0}
    assert noted(note(ends)) == ends
    assert len(note(ends)) < 200  # the broker takes 4096 bytes


def test_notes_that_somebody_else_has_left_say_nothing():
    for text in ("", "{", "7", "null", "[1]", '{"message-state":"x"}', '{"message-state":true}', "by hand"):
        assert noted(text) == {}
