"""Whatever a key sees from run to run: what a run calls verified was read, by it or by one before."""

import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avro import instants
from bridge.reconcile import names
from bridge.reconcile import run as module
from bridge.reconcile.counterparts import of_row
from bridge.reconcile.index import Index, State
from bridge.reconcile.poster import Receipt, Repair
from bridge.reconcile.report import Report
from bridge.reconcile.run import Options, Run
from bridge.reconcile.settings import ReconcileSettings
from bridge.reconcile.source import Cursor, Range

ORGANIZATIONS = ("a", "b", "c")
START = 1_700_000_000_000_000
_PAGE = 2

Row = dict[str, Any]


class Platform:
    """Rows of a table, of which a key sees those of some organizations; also the states, which have what was posted."""

    def __init__(self, index: Index, table: str) -> None:
        self.index = index
        self.table = table
        self.now = START
        self.rows: list[Row] = []
        self.visible: set[str] = set(ORGANIZATIONS)
        self.read: set[str] = set()
        #: After so many pages the key does not see `a` any more, or the run is killed.
        self.revoked_after: int | None = None
        self.killed_after: int | None = None
        self._posted: list[Row] = []
        self.unreadable: dict[str, str] = {}
        self.replaced: dict[str, str] = {}

    def happen(self, organization: str) -> None:
        columns = {"id": f"m{len(self.rows)}", "conversation_id": "c"}
        if self.table == "contacts_addresses":
            columns = {"service": "whatsapp", "address": f"+{len(self.rows)}"}
        row = {**columns, "organization_id": organization}
        self.rows.append(row | {"updated_at": instants.render(self.now)})

    def name(self, row: Row) -> str:
        return str(names.name_of(self.table, row))

    def at(self, name: str) -> int:
        return next(instants.parse(row["updated_at"]) or 0 for row in self.rows if self.name(row) == name)

    def seen(self, entity: str) -> list[Row]:
        return [row for row in self.rows if entity == self.table and row["organization_id"] in self.visible]

    # -- as bridge.reconcile.source.Source

    def ahead_us(self, _: str) -> int:
        return 0

    def page(self, entity: str, wanted: Range, after: Cursor | None) -> list[Row]:
        if self.killed_after == 0:
            raise KeyboardInterrupt
        if self.revoked_after == 0:
            self.visible.discard("a")
        if entity == self.table:
            self.killed_after = None if self.killed_after is None else self.killed_after - 1
            self.revoked_after = None if self.revoked_after is None else self.revoked_after - 1
        found = [
            row
            for row in self.seen(entity)
            if wanted.since <= (instants.parse(row["updated_at"]) or 0) <= wanted.until
            and wanted.organization in {None, row["organization_id"]}
            and (after is None or (row["updated_at"], self.name(row)) > (after.at, after.id))
        ]
        page = sorted(found, key=lambda row: (row["updated_at"], self.name(row)))[:_PAGE]
        self.read.update(self.name(row) for row in page)
        return page

    def by_name(self, entity: str, wanted: list[str]) -> list[Row]:
        return [row for row in self.seen(entity) if self.name(row) in wanted]

    def present(self, entity: str, wanted: list[str]) -> set[str]:
        return {self.name(row) for row in self.by_name(entity, wanted)}

    def newest(self, entity: str, organization: str, most: int) -> list[str]:
        return [self.name(row) for row in self.seen(entity) if row["organization_id"] == organization][-most:]

    # -- as States and Poster

    def catch_up(self, _: object = None) -> None:
        states = [
            State(names.id_in(self.table, self.name(row)), of_row(self.table, row), row["organization_id"], "c")
            for row in self._posted
        ]
        self.index.take(self.table, states, {0: 0})
        self._posted.clear()

    def post(self, repairs: Iterable[Repair]) -> Iterator[Receipt]:
        for repair in repairs:
            self._posted.append(repair.row)
            yield Receipt(repair, accepted=True, answer="published")


@dataclass(frozen=True)
class Round:
    """Rows that are written, and then a run with what befalls it."""

    rows: list[str]
    visible: set[str]
    #: Runs over these organizations, or since so many microseconds ago. Not both of the last two: whether a key lost
    #: one of its organizations is looked at when a run ends.
    organizations: tuple[str, ...] = ()
    since_ago: int | None = None
    revoked_after: int | None = None
    killed_after: int | None = None


organizations = st.sampled_from(ORGANIZATIONS)
pages = st.none() | st.integers(0, 3)
rounds = st.builds(
    Round,
    st.lists(organizations, max_size=4),
    st.sets(organizations) | st.just(set(ORGANIZATIONS)),
    st.just(()) | st.tuples(organizations),
    st.none() | st.integers(0, 60),
    pages,
    pages,
).filter(lambda each: each.revoked_after is None or each.killed_after is None)
_AT_LAST = Round([], set(ORGANIZATIONS))


@pytest.mark.parametrize("table", ["messages", "contacts_addresses"])
@given(story=st.lists(rounds, min_size=1, max_size=6))
@example(story=[Round(["a", "a"], {"a"}, since_ago=15)]).via("a run since a time says nothing of older rows")
@example(story=[Round(["a", "b"], {"a", "b"}), Round(["b"], {"a"})]).via("b was hidden for a while")
@example(story=[Round(["a", "b"], {"a", "b"}), Round(["b"], {"a"}), Round([], {"a", "b"}, since_ago=5)]).via(
    "and is not read"
)
@example(story=[Round(["b"], {"a"}), Round(["b"], {"a", "b"})]).via("b was never shown before")
@example(story=[Round(["a", "b", "a", "a"], {"a", "b"}, revoked_after=1)]).via("a is hidden in the middle")
def test_what_is_verified_was_read(table: str, story: list[Round]):
    with tempfile.TemporaryDirectory() as directory, Index(Path(directory)) as index:
        platform = Platform(index, table)
        shim = SimpleNamespace(now=lambda: platform.now, parse=instants.parse, render=instants.render)
        with patch.object(module, "instants", shim):
            for each in [*story, _AT_LAST]:
                for organization in each.rows:
                    platform.now += 10
                    platform.happen(organization)
                platform.now += 5
                platform.visible = set(each.visible)
                platform.revoked_after, platform.killed_after = each.revoked_after, each.killed_after
                try:
                    verified = _run(platform, index, each).verified_until
                except KeyboardInterrupt:
                    continue
                for (_, organization), until in verified.items():
                    told = [row for row in platform.rows if row["organization_id"] == organization]
                    unread = [platform.name(row) for row in told if platform.name(row) not in platform.read]
                    assert [name for name in unread if platform.at(name) <= until] == []


def _run(platform: Platform, index: Index, each: Round) -> Report:
    watcher = SimpleNamespace(reading=None, comparing=lambda *_: None, asking=lambda *_: None, found=lambda _: None)
    return Run(
        platform,  # type: ignore[arg-type]  # it answers as a Source does
        platform,
        index,
        platform,  # type: ignore[arg-type]  # it posts as a Poster does
        settings=ReconcileSettings(overlap_s=0, settle_s=0, wait_s=0),
        options=Options(
            organizations=each.organizations,
            since=None if each.since_ago is None else platform.now - each.since_ago,
            deletes=False,
        ),
        watcher=watcher,  # type: ignore[arg-type]  # it looks away
        platform="openbsp.test",
    ).run()
