"""Contacts and their addresses are compared with the tables of the workers, and repaired as all rows are."""

from typing import Any

import pytest
from msgspec import msgpack

from avro import instants
from avro.columns import ENTITIES
from avro.rows import id_of, ids_of
from bridge.reconcile.counterparts import state_of
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import State
from bridge.reconcile.report import text
from bridge.reconcile.settings import ReconcileSettings
from bridge.reconcile.states import state_of as state_of_state
from openbsp.merge import contact
from support.reconcile_world import (
    HOUR,
    LONG_AGO,
    World,
    address_row,
    at,
    contact_row,
    conversation_row,
)

PEOPLE = ("contacts", "contacts_addresses")


def fill(world: World, number: int = 12, **more: Any) -> None:
    for each in range(number):
        world.put("contacts", contact_row(each, **more))
        world.put("contacts_addresses", address_row(each, **more))


def key_of(entity: str, row: dict[str, Any]) -> str:
    return str(id_of(ENTITIES[entity], row))


def remove(world: World, entity: str, row: dict[str, Any]) -> None:
    """Delete a row of the platform, of which nothing is told."""
    world.platform.change(
        entity, [(column, f"eq.{row[column]}") for column in ENTITIES[entity].identity or ("id",)], None
    )


def test_what_was_never_told_is_told_and_the_second_run_finds_nothing(world: World):
    fill(world)
    world.put("contacts", contact_row(20), lost=True)
    world.put("contacts", contact_row(3, name="Ada", updated_at=at(60)), lost=True)
    world.put("contacts_addresses", address_row(20), lost=True)
    world.put("contacts_addresses", address_row(4, contact_id=None, extra=None, updated_at=at(61)), lost=True)
    report = world.run()
    contacts, addresses = (report.total(entity) for entity in PEOPLE)
    assert (contacts.compared, contacts.missing, contacts.different) == (13, 1, 1)
    assert (addresses.compared, addresses.missing, addresses.different) == (13, 1, 1)
    assert [sample.columns for sample in report.samples["different"]] == [
        ["name", "updated_at"],
        ["contact_id", "extra.name", "updated_at"],
    ]
    assert [(repair.entity, repair.action) for repair in world.bridge.took] == [
        (entity, "update") for entity in PEOPLE for _ in range(2)
    ]
    # As the platform has it: an id that is made is no column.
    assert address_row(20) in [repair.row for repair in world.bridge.took]
    assert report.total().confirmed == 4
    assert report.well
    assert report.verified_until.keys() == {(entity, "acme") for entity in PEOPLE}
    again = world.run(since=0)
    assert (again.total().compared, again.total().missing, again.total().different) == (26, 0, 0)
    assert world.bridge.took == []
    assert again.well


def test_a_change_to_a_column_that_the_tables_do_not_have_is_told(world: World):
    """Consumers of the topics have it: the table knows that its row is not the newest."""
    fill(world, 3)
    world.put("contacts", contact_row(1, status="inactive", updated_at=at(90)), lost=True)
    world.put("contacts_addresses", address_row(1, status="inactive", updated_at=at(90)), lost=True)
    report = world.run()
    assert [sample.columns for sample in report.samples["different"]] == [["updated_at"], ["updated_at"]]
    assert len(world.bridge.took) == 2
    assert report.well
    assert world.run(since=0).total().different == 0


def test_rows_that_one_transaction_wrote_are_all_read(world: World):
    """More addresses than an answer has share an `updated_at`: the next page begins behind all that identifies one."""
    for number in range(23):
        service = "instagram" if number % 2 else "whatsapp"
        world.put("contacts_addresses", address_row(number, service=service, updated_at=at(1)), lost=True)
        world.put("contacts_addresses", address_row(number, organization_id="zeta", updated_at=at(1)), lost=True)
    report = world.run()
    assert report.total("contacts_addresses").missing == 46
    assert report.well


def test_what_is_gone_from_the_platform_becomes_deletes(world: World):
    fill(world)
    world.run()
    remove(world, "contacts", contact_row(5))
    remove(world, "contacts_addresses", address_row(6))
    report = world.run()
    assert [(repair.entity, repair.action, repair.row) for repair in world.bridge.took] == [
        ("contacts", "delete", {"id": "p5", "organization_id": "acme"}),
        ("contacts_addresses", "delete", ids_of(ENTITIES["contacts_addresses"], address_row(6))),
    ]
    assert (report.total().gone, report.total().deleted, report.total().confirmed) == (2, 2, 2)
    assert report.well
    assert world.run(since=0).total().gone == 0


def test_an_address_that_comes_back_after_its_delete_is_told(world: World):
    fill(world, 3)
    world.run()
    remove(world, "contacts_addresses", address_row(1))
    assert world.run().total().deleted == 1
    world.put("contacts_addresses", address_row(1, updated_at=instants.render(instants.now())), lost=True)
    report = world.run()
    assert (report.total().missing, report.total().kept_out, report.well) == (1, 0, True)
    assert world.streams.addresses[key_of("contacts_addresses", address_row(1))].facts.columns


@pytest.mark.parametrize("inserted", ["told", "lost"])
def test_an_address_that_came_back_in_the_batch_that_tells_of_its_delete_is_a_conflict(world: World, inserted: str):
    """The delete is received after the row was made again, so the row stays out, although OpenBSP has it."""
    fill(world, 3)
    world.run()
    delete = ids_of(ENTITIES["contacts_addresses"], address_row(1))
    made = instants.now() - 5_000_000
    again = address_row(1, created_at=instants.render(made), updated_at=instants.render(made))
    world.streams.tell("contacts_addresses", "delete", delete, received_at=made + 4_000_000)
    world.put("contacts_addresses", again, lost=inserted == "lost")
    for _ in range(2):
        report = world.run(since=0)
        total = report.total()
        assert (total.missing, total.conflicts, total.kept_out, report.well) == (0, 1, 0, False)
        assert [sample.columns for sample in report.samples["conflicts"]] == [["deleted"]]
        assert world.bridge.took == []
    # What docs/completeness.md advises.
    world.put("contacts_addresses", again | {"updated_at": instants.render(instants.now())}, lost=True)
    report = world.run(since=0)
    assert (report.total().missing, report.total().conflicts, report.well) == (1, 0, True)


def test_an_address_that_a_conversation_names_is_judged_although_no_run_has_seen_it(world: World):
    fill(world, 2)
    world.put("conversations", conversation_row(7, contact_address=address_row(7)["address"]))
    world.streams.tell("contacts_addresses", "insert", address_row(7))
    addresses = world.run().total("contacts_addresses")
    assert (addresses.unjudged, addresses.gone, addresses.deleted) == (0, 1, 1)


def test_so_is_one_that_only_messages_of_the_conversation_name():
    of_messages = {"known": False, "organization_id": "acme", "service": "whatsapp", "contact_address": "+1"}
    assert state_of_state("conversations", "c1", of_messages) == State(
        "c1", organization="acme", orphan=True, address='["acme","whatsapp","+1"]'
    )


def test_an_address_of_which_nobody_knows_how_to_ask_is_not_judged(world: World):
    """Its id has a hash: what it is asked for by is known once the platform has shown it."""
    fill(world, 2)
    world.streams.tell("contacts_addresses", "insert", address_row(7))
    report = world.run()
    assert (report.total("contacts_addresses").unjudged, report.total("contacts_addresses").gone) == (1, 0)
    assert world.bridge.took == []


@pytest.mark.parametrize("entity", PEOPLE)
def test_what_a_revoked_key_does_not_see_is_not_deleted(world: World, entity: str):
    fill(world)
    world.run()
    world.platform.readers = {}
    report = world.run(since=0, allow_deletes=True)
    assert world.bridge.took == []
    assert any(f"shows no row in {entity} of organization acme" in problem for problem in report.problems)
    assert (entity, "acme") not in report.verified_until


def test_rows_that_were_erased_here_stay_out_and_are_not_missing(world: World):
    """`bridge erase` deletes them here; the platform may have them for years."""
    fill(world, 3)
    world.streams.tell("contacts", "delete", {"id": "p1", "organization_id": "acme"})
    world.streams.tell(
        "contacts_addresses",
        "delete",
        ids_of(ENTITIES["contacts_addresses"], address_row(1)),
        received_at=instants.now(),
    )
    for _ in range(2):
        report = world.run(since=0)
        assert (report.total().missing, report.total().conflicts, report.total().kept_out) == (0, 0, 2)
        assert world.bridge.took == []
        assert report.well
    assert [sample.columns for sample in report.samples["kept out"]] == [["deleted"], ["deleted"]]
    assert any(", 1 kept out" in line for line in text(report.content()))


@pytest.mark.parametrize(("entity", "row"), [("contacts", contact_row(1)), ("contacts_addresses", address_row(1))])
def test_what_the_bridge_turns_away_as_suppressed_is_not_missing_and_asked_again_after_a_day(
    world: World, entity: str, row: dict[str, Any]
):
    fill(world, 1)
    world.put(entity, row, lost=True)
    world.bridge.refuses[key_of(entity, row)] = "suppressed"
    report = world.run()
    assert (report.total().missing, report.total().refused, report.total().kept_out) == (0, 0, 1)
    assert report.well
    # Lifted, but nobody has asked since.
    world.bridge.refuses.clear()
    assert world.run(since=0).total().kept_out == 1
    assert world.bridge.took == []
    world.index.turn_away(entity, key_of(entity, row), instants.now() - 25 * HOUR)
    assert world.run(since=0).total().missing == 1
    assert len(world.bridge.took) == 1


def test_an_api_without_contacts_is_named_and_hinders_nothing_else(world: World):
    world.fill(3)
    world.put("messages", {**world.platform.rows("messages")[0], "id": "m00009"}, lost=True)
    world.platform.tables = ("messages", "conversations")
    report = world.run()
    assert report.total("messages").confirmed == 1
    assert report.verified_until.keys() == {("messages", "acme"), ("conversations", "acme")}
    assert [problem.partition(":")[0] for problem in report.problems] == [
        "contacts were not compared to the end",
        "contacts_addresses were not compared to the end",
    ]
    assert "there is no such table" in report.problems[0]


def test_tables_that_are_left_out_are_not_asked_for(world: World):
    fill(world, 3)
    world.platform.tables = ("contacts_addresses",)
    report = world.run(settings={"entities": "contacts_addresses"})
    assert report.verified_until.keys() == {("contacts_addresses", "acme")}
    assert report.well


@pytest.mark.parametrize("entities", ["", "contacts,persons", "contacts;messages"])
def test_tables_that_there_are_not_are_no_setting(entities: str):
    with pytest.raises(ValueError, match="not one of messages, conversations, contacts, contacts_addresses"):
        ReconcileSettings(entities=entities)


def test_without_the_right_to_read_the_tables_of_workers_contacts_are_not_compared(world: World):
    fill(world, 3)
    world.streams.unreadable = {"contacts": "x cannot be read"}
    report = world.run()
    assert report.problems == ["contacts were not compared: x cannot be read"]
    assert report.verified_until.keys() == {("contacts_addresses", "acme")}
    assert world.bridge.took == []


def test_what_another_organizations_writer_says_of_a_contact_is_not_taken_for_it(world: World):
    world.platform.put("contacts", **contact_row(1))
    tell = world.streams.tell
    tell("contacts", "insert", contact_row(1), organizations=["acme"], received_at=LONG_AGO)
    theirs = contact_row(1, organization_id="zeta", name="Mallory", updated_at=at(99))
    tell("contacts", "update", theirs, organizations=["zeta"], received_at=LONG_AGO + HOUR)
    gone = {"id": "p1", "organization_id": "zeta"}
    tell("contacts", "delete", gone, organizations=["zeta"], received_at=LONG_AGO + HOUR)
    report = world.run()
    assert (report.total().compared, report.total().missing, report.total().different) == (1, 0, 0)
    assert report.well


def test_a_record_of_another_version_of_the_workers_is_named():
    stored = contact.encode(contact.ContactRow(contact.ContactFacts(format=2)))
    with pytest.raises(ReconcileError, match="streams-contacts-changelog: a row of format 2"):
        state_of("contacts", "p1", stored)
    with pytest.raises(ReconcileError, match="no row of its table"):
        state_of("contacts", "p1", b"\x01")
    facts = [1, {}, ["acme"], [], {}]
    assert state_of("contacts", "p1", msgpack.encode([facts, {}])) == State("p1")
    for other in ([*facts, "one more"], facts[:-1]):
        with pytest.raises(ReconcileError, match="it has other members"):
            state_of("contacts", "p1", msgpack.encode([other, {}]))
    # How far the table is.
    assert state_of("contacts", "", b"\x01") is None


def test_names_of_addresses_go_with_their_rows(world: World):
    """They are somebody's addresses: once a row is deleted the index has a hash of it alone."""
    fill(world, 2)
    world.run()
    entity, key = "contacts_addresses", key_of("contacts_addresses", address_row(1))
    assert [known.name for known in world.index.behind(entity, "", instants.now(), 10) if known.id == key] == [
        '["acme","whatsapp","+34600000001"]'
    ]
    remove(world, entity, address_row(1))
    world.run()
    world.run()
    world.index._db.execute("VACUUM")
    world.index._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = b"".join(path.read_bytes() for path in world.directory.iterdir())
    assert b"+34600000000" in content
    assert b"+34600000001" not in content
