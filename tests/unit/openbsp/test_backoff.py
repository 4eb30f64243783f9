"""Waits between attempts: longer and longer up to a limit, spread, and short again after a success."""

from openbsp.backoff import Backoff


def test_waits_double_up_to_the_limit_and_are_spread_by_half():
    backoff = Backoff(1.0, 4.0)
    for middle in (1.0, 2.0, 4.0, 4.0, 4.0):
        assert 0.5 * middle <= backoff.next_s() <= 1.5 * middle
    backoff.reset()
    assert backoff.next_s() <= 1.5


def test_two_processes_do_not_wait_equally_long():
    assert len({Backoff(1.0, 1.0).next_s() for _ in range(20)}) > 1
