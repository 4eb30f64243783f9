"""A run finds what the states lack, repairs it, finds nothing the second time, and believes no wrong answer."""

from uuid import UUID

import pytest

from bridge.reconcile.index import State
from bridge.sender.errors import PlatformBusyError, PlatformError
from support.reconcile_world import World, at, conversation_row, message_row


def test_what_was_never_told_is_told_and_the_second_run_finds_nothing(world: World):
    world.fill(20)
    world.put("messages", message_row(20), lost=True)
    world.put("messages", message_row(3, status={"pending": at(3), "sent": at(50)}, updated_at=at(50)), lost=True)
    world.put("conversations", conversation_row(4, name="Ada", updated_at=at(60)), lost=True)
    report = world.run()
    messages, conversations = report.total("messages"), report.total("conversations")
    assert (messages.compared, messages.missing, messages.different) == (21, 1, 1)
    assert (conversations.compared, conversations.missing, conversations.different) == (10, 0, 1)
    assert {(repair.entity, repair.row["id"]) for repair in world.bridge.took} == {
        ("messages", "m00020"),
        ("messages", "m00003"),
        ("conversations", "c4"),
    }
    assert [sample.columns for sample in report.samples["different"]] == [
        ["status.sent", "updated_at"],
        ["name", "updated_at"],
    ]
    assert report.total().confirmed == 3
    assert report.well
    again = world.run(since=0)
    assert (again.total().compared, again.total().missing, again.total().different) == (31, 0, 0)
    assert world.bridge.took == []
    assert again.well


def test_a_dry_run_names_what_differs_and_changes_nothing(world: World):
    world.fill(5)
    world.put("messages", message_row(5), lost=True)
    report = world.run(dry_run=True)
    assert world.watcher.lines == ["missing    messages m00005 of acme"]
    assert world.bridge.took == []
    assert not report.well
    assert world.index.progress("messages", "") is None


def test_many_rows_of_one_transaction_are_all_read(world: World):
    """More rows than an answer has share an `updated_at`."""
    for number in range(23):
        world.put("messages", message_row(number, updated_at=at(1)), lost=True)
    report = world.run()
    assert report.total("messages").missing == 23
    assert report.well


def test_a_webhook_that_comes_between_the_reads_makes_no_difference(world: World):
    world.fill(3)
    late = message_row(3)
    world.put("messages", late, lost=True)
    world.streams.catch_up()
    newer = message_row(1, status={"pending": at(1), "sent": at(9)}, updated_at=at(9))

    def meanwhile() -> None:
        world.streams.tell("messages", "insert", late)
        world.put("messages", newer)

    world.streams.meanwhile = meanwhile
    report = world.run()
    assert (report.total("messages").missing, report.total("messages").different) == (0, 0)
    assert world.bridge.took == []


def test_the_next_run_reads_the_overlap_alone(world: World):
    world.fill(20)
    world.run()
    world.platform.requests.clear()
    report = world.run()
    assert report.total().compared == 0
    assert report.verified_until.keys() == {("messages", "acme"), ("conversations", "acme")}


def test_a_run_that_was_cut_off_is_continued(world: World):
    world.fill(0)
    for number in range(20):
        world.put("messages", message_row(number * 1000), lost=True)
    world.bridge.refuses = {}

    def cut() -> None:
        if len(world.bridge.took) >= 10:
            raise KeyboardInterrupt

    original = world.streams.catch_up

    def catch_up(on_read: object = None) -> None:
        cut()
        original(on_read)

    world.streams.catch_up = catch_up  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        world.run()
    world.streams.catch_up = original  # type: ignore[method-assign]
    report = world.run(settings={"overlap_s": 1})
    assert 0 < report.total("messages").compared < 20
    assert world.run(since=0).total("messages").missing == 0


def test_a_row_whose_state_does_not_change_is_told_once_and_then_in_conflict(world: World):
    """Two changes of one transaction have one `updated_at`: the states cannot know which one was later."""
    world.put("messages", message_row(1, content={"type": "text", "text": "zz"}))
    world.streams._waiting[-1]["action"] = "update"
    world.put("messages", message_row(1, content={"type": "text", "text": "a"}), lost=True)
    first = world.run()
    assert (first.total().different, first.total().confirmed, first.well) == (1, 0, False)
    second = world.run(since=0)
    assert (second.total().different, second.total().conflicts, second.well) == (0, 1, False)
    assert world.bridge.took == []


def test_a_state_that_is_newer_than_the_platform_is_in_conflict(world: World):
    world.put("conversations", conversation_row(1, name="was", updated_at=at(5)))
    world.put("conversations", conversation_row(1, name="is", updated_at=at(4)), lost=True)
    report = world.run()
    assert (report.total().different, report.total().conflicts) == (0, 1)
    assert world.bridge.took == []


def test_what_was_told_and_not_processed_is_not_told_again_at_once(world: World):
    world.fill(2)
    world.streams.catch_up()
    world.put("messages", message_row(2), lost=True)
    world.streams.paused = True
    assert not world.run().well
    second = world.run(since=0)
    assert (second.total().missing, second.total().pending) == (1, 1)
    assert world.bridge.took == []
    world.streams.paused = False
    assert world.run(since=0).well


def test_what_the_bridge_refuses_is_counted_and_named(world: World):
    world.fill(2)
    world.put("messages", message_row(2), lost=True)
    world.bridge.refuses["m00002"] = "too_large"
    report = world.run()
    assert report.total().refused == 1
    assert report.samples["refused"][0].columns == ["too_large"]
    assert not report.well


def test_one_organization_alone(world: World):
    world.fill(3)
    world.put("messages", message_row(8, organization_id="other"), lost=True)
    world.put("messages", message_row(9), lost=True)
    report = world.run(organizations=("other",))
    assert [repair.row["id"] for repair in world.bridge.took] == ["m00008"]
    assert report.total("messages").compared == 1


# -- what is gone


def test_what_is_gone_from_the_platform_is_deleted_from_the_states(world: World):
    world.fill(25)
    world.platform.remove("messages", "m00007", "m00009")
    report = world.run()
    assert {(repair.action, repair.row["id"]) for repair in world.bridge.took} == {
        ("delete", "m00007"),
        ("delete", "m00009"),
    }
    assert world.bridge.took[0].row == {"id": "m00007", "organization_id": "acme", "conversation_id": "c7"}
    assert (report.total().gone, report.total().deleted, report.total().confirmed, report.well) == (2, 2, 2, True)
    assert world.run().total().gone == 0


def test_more_than_the_share_is_not_deleted_without_being_allowed(world: World):
    world.fill(30)
    world.platform.remove("messages", *(f"m{number:05}" for number in range(12)))
    report = world.run()
    assert (report.total().gone, report.total().withheld, report.total().deleted) == (12, 12, 0)
    assert "--allow-deletes" in report.problems[0]
    assert world.bridge.took == []
    assert not report.well
    allowed = world.run(allow_deletes=True)
    assert (allowed.total().deleted, allowed.well) == (12, True)


def test_a_young_row_is_not_looked_for(world: World):
    world.fill(5)
    world.platform.remove("messages", "m00003")
    assert world.run(settings={"overlap_s": 72 * 3600}).total().gone == 0


def test_a_run_asks_for_so_many_ids_and_the_next_goes_on(world: World):
    world.fill(25)
    world.platform.remove("messages", "m00001", "m00024")
    limited = {"delete_ids": 13}
    assert [world.run(settings=limited).total("messages").deleted for _ in range(2)] == [1, 1]


def test_a_revoked_key_deletes_nothing_and_verifies_nothing(world: World):
    """Row-level security then answers with no rows."""
    world.fill(25)
    assert world.run().well
    world.platform.readers = {"key": frozenset()}
    report = world.run(allow_deletes=True)
    assert world.bridge.took == []
    assert (report.total("messages").unjudged, report.total().gone) == (25, 0)
    assert report.verified_until == {}
    assert len(report.problems) == 2
    assert not report.well


def test_an_organization_that_the_key_does_not_see_is_not_judged(world: World):
    world.fill(5)
    world.put("messages", message_row(8, organization_id="other"))
    world.platform.readers = {"key": frozenset({"acme"})}
    report = world.run(allow_deletes=True)
    assert world.bridge.took == []
    assert ("messages", "other") not in report.verified_until
    assert ("messages", "acme") in report.verified_until


@pytest.mark.parametrize(
    "answer", [b"<html>welcome</html>", b"{}", b"[1]", b'[{"id": "x"}]', b'{"message": "hello"}'], ids=str
)
def test_an_answer_that_is_none_changes_nothing(world: World, answer: bytes):
    world.fill(25)
    world.run()
    world.platform.instead = answer
    with pytest.raises(PlatformError):
        world.run(allow_deletes=True)
    assert world.bridge.took == []


def test_empty_answers_change_nothing(world: World):
    world.fill(25)
    world.run()
    world.platform.instead = b"[]"
    try:
        report = world.run(allow_deletes=True)
    except PlatformError:
        pass
    else:
        assert report.total().gone == 0
    assert world.bridge.took == []


def test_answers_that_are_capped_delete_nothing(world: World):
    world.fill(25)
    world.platform.most_rows = 1
    report = world.run(allow_deletes=True)
    assert world.bridge.took == []
    assert (report.total("messages").asked, report.total().gone) == (25, 0)


def test_a_server_that_ignores_filters_is_noticed(world: World):
    world.fill(5)
    rows = ",".join(f'{{"id":"x{n}","organization_id":"acme","updated_at":"{at(n)}"}}' for n in (5, 3))
    world.platform.instead = f"[{rows}]".encode()
    with pytest.raises(PlatformError):
        world.run()


def test_a_busy_server_is_asked_again_when_it_says(world: World):
    world.fill(2)
    world.platform.failing = [429, 503]
    world.platform.retry_after = "7"
    assert world.run().well
    assert [wait for wait in world.waits if wait >= 7] == [7.0, 7.0]


def test_a_server_that_stays_busy_ends_the_run(world: World):
    world.fill(2)
    world.platform.failing = [503] * 20
    with pytest.raises(PlatformBusyError):
        world.run(settings={"patience_s": 0.0})
    assert world.bridge.took == []


def test_orphans_are_fetched_by_their_ids_and_nothing_else_is_read(world: World):
    world.fill(5)
    # A receipt came and its message did not; a message came and its conversation did not.
    sent = {"status": {"pending": at(7), "sent": at(9)}, "updated_at": at(9)}
    world.put("messages", message_row(7, **sent), lost=True)
    world.streams.tell("messages", "update", {"id": "m00007", **sent})
    world.put("conversations", conversation_row(77), lost=True)
    world.streams.records.append(("conversations", State("c77", organization="acme", orphan=True)))
    # This one is missing, and nobody tells of it.
    world.put("messages", message_row(8), lost=True)
    report = world.run(orphans=True)
    assert {repair.row["id"] for repair in world.bridge.took} == {"m00007", "c77"}
    assert report.of("messages", None).orphans == 1, "a receipt names no organization"
    assert report.of("conversations", "acme").orphans == 1
    named = {kind: [sample.id for sample in samples] for kind, samples in report.samples.items()}
    assert (named["orphaned messages"], named["orphaned conversations"]) == (["m00007"], ["c77"])
    assert report.total().compared == 2
    assert report.verified_until == {}, "it says nothing of other rows"
    assert world.index.progress("messages", "") is None
    again = world.run(orphans=True)
    assert (again.total().orphans, world.bridge.took) == (0, [])
    assert again.well


def test_an_orphan_that_the_platform_does_not_have_is_a_problem_and_is_not_deleted(world: World):
    world.fill(5)
    world.streams.tell("messages", "update", {"id": "m00009", "status": {"sent": at(9)}, "updated_at": at(9)})
    report = world.run(orphans=True)
    assert world.bridge.took == []
    assert not report.well
    assert "1 orphans in messages are not in OpenBSP either" in report.problems[0]
    assert [sample.id for sample in report.samples["absent orphans"]] == ["m00009"]


def test_orphans_of_other_organizations_are_left_alone(world: World):
    world.put("conversations", conversation_row(77), lost=True)
    world.streams.records.append(("conversations", State("c77", organization="acme", orphan=True)))
    report = world.run(orphans=True, organizations=("other",))
    assert (world.bridge.took, report.tallies) == ([], {})


# -- ids that the platform cannot have


def test_events_that_somebody_made_up_do_not_hinder_a_run(world: World):
    """OpenBSP's ids are UUIDs, and PostgREST refuses a question for anything else."""
    world.platform.uuids = True
    ours = {"organization_id": str(UUID(int=1))}
    for number in range(20):
        world.put("conversations", conversation_row(number, id=str(UUID(int=100 + number)), **ours))
        world.put("messages", message_row(number, id=f"abcdef00-0000-0000-0000-{number:012}", **ours))
    for made_up in ("m1", "ABCDEF00-0000-0000-0000-000000000003", "nul\0"):
        world.streams.tell("messages", "insert", message_row(50, id=made_up, **ours))
    world.streams.tell("messages", "insert", message_row(51, id="msg", organization_id="acme"))
    world.streams.tell("messages", "update", {"id": "receipt", "status": {"sent": at(9)}, "updated_at": at(9)})
    world.put("messages", message_row(60, id=str(UUID(int=60)), **ours), lost=True)
    report = world.run()
    assert report.total("messages").missing == report.total("messages").posted == 1
    assert {repair.row["id"] for repair in world.bridge.took if repair.action == "delete"} == {
        "m1",
        "ABCDEF00-0000-0000-0000-000000000003",
        "nul\0",
    }
    assert [problem for problem in report.problems if "acme" not in problem] == []
    assert "1 orphans in messages" in world.run(orphans=True).problems[0]
