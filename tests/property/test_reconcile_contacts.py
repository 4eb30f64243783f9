"""Whatever webhooks of contacts and addresses got lost: after a run the tables of the workers have OpenBSP's rows."""

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from avro.columns import ENTITIES
from avro.rows import id_of, ids_of
from bridge.reconcile import names
from bridge.reconcile.counterparts import of_row, state_of
from openbsp.merge import claims, contact
from openbsp.merge.registers import text_of
from openbsp_testkit.postgrest import Postgrest, running_postgrest
from support.reconcile_world import LONG_AGO, World, address_row, at, contact_row
from support.wire import event_of

ROWS = {"contacts": contact_row, "contacts_addresses": address_row}


@dataclass(frozen=True)
class Change:
    """A row is written, or deleted; of which OpenBSP tells, or not."""

    entity: str
    number: int
    deleted: bool
    lost: bool
    columns: dict[str, Any]


changed = {
    "contacts": st.fixed_dictionaries({"name": st.sampled_from(["Ada", "Bo", None]), "status": st.just("x")}),
    "contacts_addresses": st.fixed_dictionaries(
        {"contact_id": st.sampled_from(["p0", "p1", None]), "extra": st.sampled_from([None, {"name": "Ce"}, {"n": 1}])}
    ),
}
changes = st.sampled_from(sorted(ROWS)).flatmap(
    lambda entity: st.builds(
        Change,
        st.just(entity),
        st.integers(0, 2),
        st.integers(0, 4).map(lambda n: n == 0),
        st.booleans(),
        changed[entity],
    )
)


@pytest.fixture(scope="module")
def platform() -> Iterator[Postgrest]:
    with running_postgrest(*ENTITIES, most_rows=3) as served:
        yield served


# Each example is two runs over HTTP.
@settings(max_examples=25)
@given(st.lists(changes, max_size=12), st.randoms(use_true_random=False))
def test_after_a_run_the_tables_have_the_rows(platform: Postgrest, story: list[Change], order: Random):
    for entity in ROWS:
        for row in platform.rows(entity):
            remove(platform, entity, row)
    with tempfile.TemporaryDirectory() as directory:
        world = World(Path(directory), platform)
        with world.index:
            # Of each something stays, which shows that the key sees the organization.
            for entity, make in ROWS.items():
                world.put(entity, make(9))
            happen(world, story)
            order.shuffle(world.streams._waiting)
            report = world.run(settings={"delete_minimum": 100})
            assert report.well, report
            agree(world)
            again = world.run(since=0)
            assert (again.well, world.bridge.took) == (True, [])


def happen(world: World, story: list[Change]) -> None:
    used: set[int] = set()
    for second, change in enumerate(story, 10):
        row = ROWS[change.entity](change.number, **change.columns, updated_at=at(second))
        there = names.name_of(change.entity, row) in {
            names.name_of(change.entity, each) for each in world.platform.rows(change.entity)
        }
        if change.entity == "contacts" and change.number in used and not there:
            # No platform gives an id twice.
            continue
        if not change.deleted:
            used |= {change.number} if change.entity == "contacts" else set()
            world.put(change.entity, row, lost=change.lost)
        elif there:
            remove(world.platform, change.entity, row)
            if not change.lost:
                ids, received_at = ids_of(ENTITIES[change.entity], row), LONG_AGO + second * 1_000_000
                world.streams.tell(change.entity, "delete", ids, received_at=received_at)


def remove(platform: Postgrest, entity: str, row: dict[str, Any]) -> None:
    platform.change(entity, [(column, f"eq.{row[column]}") for column in names.columns_of(entity)], None)


def agree(world: World) -> None:
    rows = {entity: {str(id_of(ENTITIES[entity], row)): row for row in world.platform.rows(entity)} for entity in ROWS}
    for id_, stored in world.streams.contacts.items():
        row = rows["contacts"].pop(id_, None)
        assert contact.name_of(stored.facts, "acme") == (None if row is None else row["name"])
    for id_, address in world.streams.addresses.items():
        row = rows["contacts_addresses"].pop(id_, None)
        # What nobody knows how to ask for is not judged: the platform has never shown it, and tells no more of it.
        assert row is None or contact.is_known(address.facts)
        if row is not None:
            assert contact.contact_of(address.facts) == row["contact_id"]
            shown = contact.shown(address.facts, "acme", row["address"])
            assert shown is not None
            assert shown["name"] == (row["extra"] or {}).get("name")
    assert rows == {"contacts": {}, "contacts_addresses": {}}


events = st.builds(
    lambda action, name, organization, second, writers, received: {
        "entity": "contacts",
        "action": action,
        "data": {"id": "p", "organization_id": organization}
        | ({} if action == "delete" else {"name": name, "updated_at": at(second)}),
        "organizations": writers,
        "received_at": LONG_AGO + received,
    },
    st.sampled_from(["insert", "update", "update", "delete"]),
    st.sampled_from(["Ada", "Bo", None, "x" * 300]),
    st.sampled_from(["acme", "zeta"]),
    st.integers(0, 3),
    st.sampled_from([None, ["acme"], ["zeta"], ["acme", "zeta"]]),
    st.integers(0, 3),
).filter(lambda event: event["organizations"] is None or event["data"]["organization_id"] in event["organizations"])


@settings(max_examples=200)
@given(st.lists(events, min_size=1, max_size=6))
def test_what_is_read_of_a_table_is_what_the_workers_mean(told: list[dict[str, Any]]):
    facts = contact.NO_CONTACT
    for envelope in told:
        facts = contact.join_contacts(facts, contact.contact_facts(event_of(envelope), envelope["organizations"]))
    state = state_of("contacts", "p", contact.encode(contact.ContactRow(facts)))
    assert state is not None
    owner = claims.owner(text_of(facts.columns.get("organization_id")), facts.claims)
    name = None if owner is None else contact.name_of(facts, owner)
    if state.facts is None:
        assert name is None
    else:
        row = contact_row(0, id="p", name=name, organization_id=owner, updated_at=at(3))
        expected = of_row("contacts", row).columns
        assert {column: state.facts.columns[column] for column in ("name", "organization_id")} == {
            column: expected[column] for column in ("name", "organization_id")
        }
