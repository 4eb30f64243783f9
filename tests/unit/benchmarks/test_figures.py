"""Goals, budget, results, sections and the summary of the benchmarks."""

import pytest
from figures import summary
from figures.budget import Budget, expected_s, share_s
from figures.goals import Goal, table
from figures.results import Results
from figures.section import put


@pytest.mark.parametrize(
    ("goal", "met"),
    [
        (Goal("rate", 1.0, at_least=1.0), True),
        (Goal("rate", 0.99, at_least=1.0), False),
        (Goal("time", 0.15, at_most=0.15), True),
        (Goal("time", 0.151, at_most=0.15), False),
        (Goal("both", 5, at_least=4, at_most=6), True),
        (Goal("both", 7, at_least=4, at_most=6), False),
        (Goal("no number", float("nan"), at_least=0), False),
    ],
)
def test_a_goal_is_met_within_its_bounds(goal, met):
    assert goal.met is met
    assert goal.verdict == ("met" if met else "MISSED")


def test_the_table_says_what_was_missed():
    found = table([Goal("rate", 0.625, at_least=0.6, unit="x"), Goal("lost", 2, at_most=0)])
    assert "| rate | at least 0.6 x | 0.62 x | met |" in found
    assert "| lost | at most 0 | 2 | **MISSED** |" in found


class Clock:
    """A clock that goes on when it is told to."""

    now = 100.0

    def __call__(self):
        return self.now


def test_rounds_end_when_another_one_would_not_fit():
    clock = Clock()
    budget = Budget(60, clock)
    done = []
    for number in budget.rounds(5, reserve_s=10):
        done.append(number)
        clock.now += 15
    assert done == [1, 2, 3]  # a fourth would end at 60, and 10 are kept
    assert budget.left_s == 15


def test_the_longest_round_counts():
    clock = Clock()
    done = []
    for number, seconds in zip(Budget(60, clock).rounds(5), (30, 5, 5), strict=False):
        done.append(number)
        clock.now += seconds
    assert done == [1, 2]


def test_who_is_late_has_one_round():
    clock = Clock()
    budget = Budget(1, clock)
    clock.now += 100
    assert list(budget.rounds(3)) == [1]


def test_without_a_budget_there_are_all_rounds():
    assert list(Budget().rounds(3)) == [1, 2, 3]


def test_each_part_has_its_share_of_what_is_left():
    assert share_s(100, [30, 10, 10]) == 60
    assert share_s(40, [10]) == 40
    assert share_s(-5, [10, 10]) == 0


@pytest.mark.parametrize(
    ("before", "seconds"),
    [
        ([], 0),
        ([(10, 20)], 2000),
        ([(10, 20), (100, 110)], 1.1 * (110 + 900)),
        ([(1, 500), (10, 20), (100, 110)], 1.1 * (110 + 900)),
        ([(10, 50), (100, 40)], 1.1 * 40),
    ],
)
def test_a_step_is_expected_to_take_as_long_as_the_smaller_ones_say(before, seconds):
    assert expected_s(before, 1000) == pytest.approx(seconds)


def test_results_are_read_as_they_were_written(tmp_path):
    results = Results("machine", "sizes", [Goal("rate", 1, at_least=1)], {"rows": [{"a": 1.5}]}, ["Bento: no Go"])
    results.write(tmp_path / "new" / "results.json")
    assert Results.read(tmp_path / "new" / "results.json") == results


def test_a_section_is_replaced_and_the_rest_stays(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("# By hand\n")
    put(page, "one", "first")
    put(page, "two", "second\n\n")
    page.write_text(page.read_text() + "\nAlso by hand.\n")
    put(page, "one", "third")
    assert page.read_text() == (
        "# By hand\n\n<!-- begin one -->\nthird\n<!-- end one -->\n\n"
        "<!-- begin two -->\nsecond\n<!-- end two -->\n\nAlso by hand.\n"
    )


def test_a_section_without_an_end_swallows_nothing(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("<!-- begin one -->\nby hand\n")
    with pytest.raises(ValueError, match="no <!-- end one -->"):
        put(page, "one", "new")
    assert "by hand" in page.read_text()


def test_the_summary_says_what_was_met_missed_left_out_and_what_failed(tmp_path):
    (tmp_path / "spool.svg").touch()
    (tmp_path / "other.svg").touch()
    results = {
        "spool": Results("a machine", "3 rounds", [Goal("taken", 1.2, at_least=1, unit="x")], {}, [], "2026-11-26"),
        "join": Results(
            "a machine", "2 runs", [Goal("rate", 1, at_least=1.5, unit="x")], {}, ["Quix: no pip"], "2026-11-26"
        ),
    }
    page = summary.page("python benchmarks/all.py", results, ["views"], tmp_path)
    assert "| spool | taken | at least 1 x | 1.20 x | met |" in page
    assert "| join | rate | at least 1.5 x | 1.00 x | **MISSED** |" in page
    assert "Failed, wholly or in part: views." in page
    assert "Left out of join: Quix: no pip" in page
    assert "plots/spool.svg" in page
    assert "plots/other.svg" not in page
    closing = summary.closing(results, ["views (exit code 1)"])
    assert "MISSED  join   rate" in closing
    assert closing.endswith("left out of join: Quix: no pip\n1 goals met, 1 missed\nFAILED: views (exit code 1)")
