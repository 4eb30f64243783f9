"""What a run may say to be complete, and where the next one begins: nothing is skipped without a word."""

import sqlite3
from pathlib import Path

import pytest

from avro import instants
from bridge.reconcile.comparison import Facts
from bridge.reconcile.coverage import Coverage
from bridge.reconcile.index import Index, Progress, State
from support.reconcile_world import HOUR, World, begin, conversation_row, message_row, unconnected

#: Shorter than the age of the rows, so that a row that was skipped is not read by accident.
BRIEF = {"overlap_s": 0}


def test_what_changed_while_a_key_was_revoked_is_read_once_it_sees_again(world: World):
    world.fill(5)
    assert world.run(settings=BRIEF).well
    world.platform.readers = {"key": frozenset()}
    assert not world.run(settings=BRIEF).well
    world.put("messages", message_row(5, updated_at=instants.render(instants.now())), lost=True)
    assert not world.run(settings=BRIEF).well
    assert world.run(settings=BRIEF).verified_until == {}
    world.platform.readers = None
    report = world.run(settings=BRIEF)
    assert [repair.row["id"] for repair in world.bridge.took] == ["m00005"]
    assert ("messages", "acme") in report.verified_until
    assert world.run(settings=BRIEF).total().compared == 0, "the gap is closed"


def test_a_key_that_sees_another_organization_than_before_has_all_of_that_compared(world: World):
    world.fill(5)
    world.put("messages", message_row(8, organization_id="other"), lost=True)
    world.put("conversations", conversation_row(11, organization_id="other"), lost=True)
    world.platform.readers = {"key": frozenset({"acme"}), "both": frozenset({"acme", "other"})}
    assert world.run(settings=BRIEF).well
    world.api_key = "both"
    report = world.run(settings=BRIEF)
    assert {repair.row["id"] for repair in world.bridge.took} == set(), "nothing tells of an unknown organization yet"
    assert ("messages", "other") not in report.verified_until
    world.put("messages", message_row(9, organization_id="other", updated_at=instants.render(instants.now())))
    world.put(
        "conversations", conversation_row(12, organization_id="other", updated_at=instants.render(instants.now()))
    )
    report = world.run(settings=BRIEF)
    assert {repair.row["id"] for repair in world.bridge.took} == {"m00008", "c11"}
    assert ("messages", "other") in report.verified_until


def test_a_key_that_is_revoked_in_the_middle_verifies_nothing(world: World):
    """The last page is then empty, as after the last row."""
    world.fill(20)
    world.streams.catch_up()
    world.put("messages", message_row(20), lost=True)

    def revoke() -> None:
        world.platform.readers = {"key": frozenset()}

    original = world.streams.catch_up

    def catch_up(on_read: object = None) -> None:
        original(on_read)
        if any("/messages" in path and "or=" in path for _, path in world.platform.requests):
            revoke()

    world.streams.catch_up = catch_up  # type: ignore[method-assign]
    report = world.run(settings=BRIEF)
    world.streams.catch_up = original  # type: ignore[method-assign]
    assert ("messages", "acme") not in report.verified_until
    assert not report.well
    world.platform.readers = None
    assert world.run(settings=BRIEF).total("messages").posted == 1


def test_a_run_since_a_time_leaves_no_hole_behind(world: World):
    """The rows between the last run and that time are read by the next run."""
    world.fill(5)
    world.run(settings=BRIEF)
    last = world.index.progress("messages", "")
    assert last is not None
    world.index.advance("messages", "", Progress(0, instants.now() - 40 * HOUR))
    lost = instants.render(instants.now() - 30 * HOUR)
    world.put("messages", message_row(5, updated_at=lost), lost=True)
    report = world.run(settings=BRIEF, since=instants.now() - 2 * HOUR)
    assert ("messages", "acme") not in report.verified_until
    assert world.run(settings=BRIEF).total("messages").missing == 1


def test_a_first_run_since_a_time_is_no_first_run(world: World):
    world.put("messages", message_row(1), lost=True)
    report = world.run(settings=BRIEF, since=instants.now() - 2 * HOUR)
    assert report.verified_until == {}
    assert world.run(settings=BRIEF).total("messages").missing == 1


@pytest.mark.parametrize("ahead", [1000 * HOUR, 30 * 1_000_000])
def test_a_run_since_a_time_to_come_does_not_move_the_next_one(world: World, ahead: int):
    world.fill(3)
    world.run(settings=BRIEF)
    before = world.index.progress("messages", "")
    report = world.run(settings=BRIEF, since=instants.now() + ahead)
    assert report.verified_until == {}
    assert world.index.progress("messages", "") == before


def test_progress_of_a_wrong_clock_is_not_believed(world: World):
    world.put("messages", message_row(1), lost=True)
    world.index.advance("messages", "", Progress(0, instants.now() + 1000 * HOUR))
    assert world.run(settings=BRIEF).total("messages").missing == 1
    after = world.index.progress("messages", "")
    assert after is not None
    assert after.until <= instants.now()


def test_a_clock_that_is_ahead_of_the_platforms_hides_no_row(world: World):
    """As that of a machine which takes local time for UTC: each run would begin behind the rows to come."""
    world.platform.ahead_s = -2 * 3600
    for number in range(3):
        row = message_row(number, updated_at=instants.render(instants.now() - 2 * HOUR - 10_000_000))
        world.put("messages", row, lost=True)
        report = world.run(settings={"overlap_s": 3600})
        assert [repair.row["id"] for repair in world.bridge.took] == [row["id"]]
        assert report.verified_until["messages", "acme"] < instants.now() - HOUR


def test_another_platform_is_read_from_its_beginning(world: World):
    world.fill(3)
    world.run(settings=BRIEF)
    world.address = "another.test"
    world.put("messages", message_row(3), lost=True)
    assert world.run(settings=BRIEF, dry_run=True).total("messages").missing == 1
    assert world.run(settings=BRIEF).total("messages").missing == 1
    assert world.run(settings=BRIEF).total().compared == 0


def test_states_that_were_lost_are_compared_from_their_beginning(world: World, unused_port: int):
    """A dry run notes the new topic as well: the next run must not begin where those before the loss ended."""
    world.fill(3)
    assert world.run(settings=BRIEF).well
    world.index.note("topic messages", "former")
    with unconnected(world.index, unused_port) as states:
        begin(states, "messages", "another", [(0, 0)])
        world.streams.replaced = states.replaced
    world.streams.messages.clear()
    dry = world.run(settings=BRIEF, dry_run=True)
    assert dry.total("messages").missing == 3
    assert [problem.partition(" ")[0] for problem in dry.problems] == ["openbsp.message-state"]
    world.streams.replaced = {}
    since = world.run(settings=BRIEF, since=instants.now() - HOUR)
    assert ("messages", "acme") not in since.verified_until
    report = world.run(settings=BRIEF)
    assert report.total("messages").missing == report.total("messages").confirmed == 3
    assert ("messages", "acme") in report.verified_until
    assert report.total("conversations").compared == 0, "their topic is the same"
    assert world.run(settings=BRIEF).total().compared == 0


@pytest.mark.parametrize("organizations", [(), ("no-such-organization",)])
def test_that_nothing_is_shown_at_all_is_no_completeness(world: World, organizations: tuple[str, ...]):
    """As with a key without rights, or none, or a wrong id, before anything has come."""
    world.platform.readers = {"key": frozenset()}
    world.put("messages", message_row(1), lost=True)
    report = world.run(organizations=organizations)
    assert not report.well
    assert "no row" in report.problems[0]


def test_an_organization_that_was_erased_is_no_problem_for_ever(world: World):
    world.fill(3)
    world.put("messages", message_row(8, organization_id="other"))
    world.run()
    world.platform.remove("messages", "m00008")
    world.streams.tell("messages", "delete", {"id": "m00008", "organization_id": "other"})
    assert world.run().problems == []


def test_runs_over_organizations_in_turn_look_for_all_deletes(world: World):
    """Each goes on behind the ids for which it asked itself."""
    world.fill(20)
    for number in range(20, 40):
        world.put("messages", message_row(number, organization_id="other"))
    world.run(settings={"delete_ids": 0})
    world.platform.remove("messages", "m00001", "m00039")
    limited = {"delete_ids": 20}
    deleted = 0
    for _ in range(2):
        for organization in ("acme", "other"):
            deleted += world.run(settings=limited, organizations=(organization,)).total("messages").deleted
    assert deleted == 2


def test_a_gap_that_is_being_read_is_resumed(tmp_path: Path):
    with Index(tmp_path) as index:
        index.advance("messages", "", Progress(0, 1_000))
        coverage = Coverage(index, "messages", now=2_000, overlap=100, kept=True)
        assert coverage.begin(None, None, 1_900) == 900
        coverage.show(["new"])
        assert coverage.gaps() == {"new": 0}
        coverage.fill("new", 500)
        again = Coverage(index, "messages", now=3_000, overlap=100, kept=True)
        again.begin(None, None, 2_900)
        assert again.gaps() == {"new": 500}
        again.fill("new", None)
        assert Coverage(index, "messages", now=4_000, overlap=100, kept=True).gaps() == {}


def test_a_dry_run_keeps_nothing(tmp_path: Path):
    with Index(tmp_path) as index:
        coverage = Coverage(index, "messages", now=2_000, overlap=100, kept=False)
        coverage.begin(None, None, 1_900)
        assert coverage.advance(None, 1_900), "all of it was read"
        coverage.hide(["a"])
        assert coverage.gaps() == {"a": 0}
        assert index.progress("messages", "") is None
        assert index.coverage("messages") == {}


def test_organizations_of_an_index_of_a_former_release_count_as_read(tmp_path: Path):
    with Index(tmp_path) as index:
        index.take("messages", [State("a", Facts(0, 0, 1, {}), "acme")], {0: 1})
    with sqlite3.connect(tmp_path / "index.db") as db:
        db.execute("DROP TABLE coverage")
    db.close()
    with Index(tmp_path) as index:
        assert index.coverage("messages") == {"acme": None}
