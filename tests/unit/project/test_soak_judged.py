"""What `tests/system/test_soak.py` takes for growth, of courses that are made by hand."""

import random

import pytest

from support.growth import COUNTED, MEMORY, Course, course_of

#: An hour with a sample every ten seconds, and so many webhooks a second.
SAMPLES, EVERY_S, PER_SECOND = 360, 10, 100
LEVEL_MIB = 150.0
LEAKS = {"128 bytes a webhook": 128, "1 KiB a webhook": 1024}


def noisy(values: list[float], seed: int) -> list[float]:
    chance = random.Random(seed)
    return [value + chance.uniform(-3, 3) for value in values]


def warmed_up(number: int) -> float:
    """Return what caches have filled by a sample: all of 60 MiB within the first quarter."""
    return min(60.0, number)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("leak", LEAKS.values(), ids=LEAKS)
def test_a_leak_is_growth_however_noisy_it_is(leak: int, seed: int):
    each = leak * PER_SECOND * EVERY_S / (1 << 20)
    course = course_of(noisy([LEVEL_MIB + warmed_up(number) + each * number for number in range(SAMPLES)], seed))
    assert course.has_grown(MEMORY)


@pytest.mark.parametrize("seed", range(5))
def test_what_grows_in_the_first_quarter_alone_is_no_growth(seed: int):
    course = course_of(noisy([LEVEL_MIB + warmed_up(number) for number in range(SAMPLES)], seed))
    assert not course.has_grown(MEMORY)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("period", [2, 7, 30, 45])
def test_what_rises_and_falls_again_is_no_growth(period: int, seed: int):
    """By a third of all."""
    course = course_of(noisy([LEVEL_MIB + 50 * (number % period) / period for number in range(SAMPLES)], seed))
    assert not course.has_grown(MEMORY)


def test_what_rises_and_falls_and_leaks_is_growth():
    leaking = [LEVEL_MIB + 50 * (number % 30) / 30 + number / 8 for number in range(SAMPLES)]
    assert course_of(leaking).has_grown(MEMORY)


def test_a_peak_is_no_growth_and_one_that_stays_is():
    peak = [LEVEL_MIB + (200 if 300 <= number < 320 else 0) for number in range(SAMPLES)]
    stays = [LEVEL_MIB + (200 if number >= 300 else 0) for number in range(SAMPLES)]
    assert not course_of(peak).has_grown(MEMORY)
    assert course_of(stays).has_grown(MEMORY)


def test_what_becomes_less_is_no_growth():
    assert not course_of([float(SAMPLES - number) for number in range(SAMPLES)]).has_grown(COUNTED)


def test_a_few_descriptors_more_are_none_and_one_a_minute_is():
    assert not course_of([40.0 + number % 5 + (number > 200) for number in range(SAMPLES)]).has_grown(COUNTED)
    assert course_of([40.0 + number // 6 for number in range(SAMPLES)]).has_grown(COUNTED)


def test_a_course_has_all_samples_in_its_quarters():
    assert course_of([1, 2, 3, 4]) == Course(1, (1, 2, 3, 4), 4)
    assert course_of([1, 1, 1, 5, 5, 5, 7, 7, 7, 9, 9, 9, 9]) == Course(1, (1, 5, 7, 9), 9)
