"""One run: reads the platform's rows, compares them with the states, posts missing ones, searches for deleted ones."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple, Protocol
from uuid import uuid4

from avro import instants
from avro.catalogue import DELETE
from avro.columns import ENTITIES
from avro.rows import id_of
from bridge.contact_tables import TABLES
from bridge.http import refusals
from bridge.reconcile import comparison, counterparts, gone, names
from bridge.reconcile.comparison import Facts, Verdict
from bridge.reconcile.counterparts import COUNTERPARTS
from bridge.reconcile.coverage import Coverage
from bridge.reconcile.index import Index, Known, Posted
from bridge.reconcile.outlook import Outlook, look
from bridge.reconcile.poster import Poster, Repair
from bridge.reconcile.report import Report, Span
from bridge.reconcile.settings import ReconcileSettings
from bridge.reconcile.source import Cursor, Range, Source, cursor_of
from bridge.sender.errors import PlatformBusyError, PlatformError
from bridge.sender.platform import Row
from openbsp.commands import DISTRIBUTION
from openbsp.waiting import wait_until

_SECOND = 1_000_000
_UPDATE = "update"
#: At most so many orphans of an entity are named in a report; the counts are of all.
_NAMED_ORPHANS = 100
_RECHECK_IDS = 50
_WINDOW = 500
_LOOK_AGAIN_S = 0.5
#: A repair that is not in the states after this long is posted again.
_TELL_AGAIN_US = 3600 * _SECOND
#: A row that the bridge refused, as its contact is suppressed, is posted again after this long: that may have been
#: lifted.
_TURNED_AWAY_US = 24 * 3600 * _SECOND
#: The index's note of its platform.
_PLATFORM = "platform"
_DELETED = "deleted"
_RIGHTS = "may the key (OPENBSP_API_KEY) see its rows?"
_REPLACED = (
    "{} is not what former runs compared with: it was created again or restored, lacks what came after them, or is "
    "another cluster's. What they found of {} does not count any more: a run without --since compares all rows"
)


class StateReader(Protocol):
    """As bridge.reconcile.states.States."""

    @property
    def unreadable(self) -> Mapping[str, str]:
        """Return why the states of entities cannot be read, of each such entity."""

    @property
    def replaced(self) -> Mapping[str, str]:
        """Return the topics of entities that are not those of former runs, or lack what these have read."""

    def catch_up(self, on_read: Callable[[int, int], None] | None = None) -> None:
        """Read the state topics into the index up to their end."""


class Watcher(Protocol):
    """Receives a run's progress."""

    def reading(self, done: int, total: int) -> None:
        """Report the records of state topics that were read."""

    def comparing(self, entity: str, since: int, at: int, until: int, rows: int) -> None:
        """Report how many rows of an entity were compared, up to an instant of a span."""

    def asking(self, entity: str, ids: int) -> None:
        """Report for how many ids the platform was asked."""

    def found(self, line: str) -> None:
        """Report a difference."""


class _Told(NamedTuple):
    """A repair, its facts (None: the row is gone), and the count that contains the row."""

    repair: Repair
    facts: Facts | None
    counted: str


@dataclass(frozen=True, slots=True)
class Options:
    """What a run covers. `since` is in microseconds since the epoch; None: where the last run ended."""

    organizations: tuple[str, ...] = ()
    since: int | None = None
    dry_run: bool = False
    deletes: bool = True
    allow_deletes: bool = False
    #: Only rows that never arrived although others refer to them.
    orphans: bool = False


class Run:
    """One run. Raises PlatformError, ReconcileError, RegistryError; repairs posted before stay posted."""

    def __init__(
        self,
        source: Source,
        states: StateReader,
        index: Index,
        poster: Poster | None,
        *,
        settings: ReconcileSettings,
        options: Options,
        watcher: Watcher,
        platform: str,
    ) -> None:
        """Assemble. Without a `poster` it is a dry run. `platform` is its address, for the report."""
        self._source = source
        self._states = states
        self._index = index
        self._poster = None if options.dry_run else poster
        self._settings = settings
        self._options = options
        self._watcher = watcher
        self._now = instants.now()
        self._platform_now = self._now
        self._hidden: set[str] = set()
        self.report = Report(str(uuid4()), platform, version(DISTRIBUTION), self._poster is None, self._now)

    def run(self) -> Report:
        """Compare, repair, wait for the states, and return the outcome."""
        self._states.catch_up(self._watcher.reading)
        self._index.prune(self._now - _TURNED_AWAY_US)
        if self._poster is not None:
            if not self._is_known:
                self._index.restart()
            self._index.note(_PLATFORM, self.report.platform)
        self._count_orphans()
        if self._options.orphans:
            self._fetch_orphans()
        else:
            self._compare_all()
        if self._poster is not None:
            self._confirm()
        self.report.problems += [_REPLACED.format(topic, entity) for entity, topic in self._states.replaced.items()]
        self.report.ended_at = instants.now()
        return self.report

    @property
    def _is_known(self) -> bool:
        """Whether the index is of this platform, and not of a former one."""
        return self._index.meta(_PLATFORM) in {None, self.report.platform}

    def _compare_all(self) -> None:
        # Trap: rows have the platform's time. If its clock is ahead, later runs would start after rows still to come.
        self._platform_now = self._now - self._source.ahead_us(self._settings.compared[0])
        until = self._platform_now - round(self._settings.settle_s * _SECOND)
        shown: set[str] = set()
        for entity in self._settings.compared:
            shown |= self._compare_and_search(entity, until)
        if not shown and not self.report.problems:
            self.report.problems.append("OpenBSP shows no row at all: " + _RIGHTS)
        elif shown:
            self.report.problems += [
                f"OpenBSP shows no row of organization {name}: is that its id? {_RIGHTS}"
                for name in self._options.organizations
                if name not in shown | self._hidden
            ]

    def _compare_and_search(self, entity: str, until: int) -> set[str]:
        """Compare an entity's rows, and search for deleted ones; return which organizations are shown."""
        if entity in self._states.unreadable:
            self.report.problems.append(f"{entity} were not compared: {self._states.unreadable[entity]}")
            return set()
        try:
            outlook = self._compare(entity, until)
        except PlatformBusyError:
            raise
        except PlatformError as error:
            # Not every OpenBSP shows its contacts; that must not prevent other comparisons.
            if entity not in TABLES:
                raise
            self.report.problems.append(f"{entity} were not compared to the end: {error}")
            return set()
        if self._options.deletes:
            try:
                self._search(entity, until, outlook)
            except PlatformError as error:
                self.report.problems.append(f"deletes were not looked for to the end: {error}")
        return outlook.shown

    def _known(self, entity: str) -> list[str]:
        known = self._index.organizations(entity)
        return [name for name in known if not self._options.organizations or name in self._options.organizations]

    # -- rows that are known from others only

    def _count_orphans(self) -> None:
        for entity in self._settings.compared:
            for organization, number in self._index.count_orphans(entity).items():
                if self._is_asked_for(organization):
                    self.report.of(entity, organization).orphans = number
            for id_, organization in self._index.orphans(entity, "", _NAMED_ORPHANS):
                if self._is_asked_for(organization):
                    self.report.sample(f"orphaned {entity}", entity, organization, id_, [])

    def _is_asked_for(self, organization: str | None) -> bool:
        return not self._options.organizations or organization in self._options.organizations

    def _fetch_orphans(self) -> None:
        """Read exactly those rows from the platform, and post them."""
        for entity in self._settings.compared:
            after, absent = "", 0
            while some := self._index.orphans(entity, after, _RECHECK_IDS):
                after = some[-1][0]
                ids = [id_ for id_, organization in some if self._is_asked_for(organization)]
                if not ids:
                    continue
                page = self._source.by_name(entity, ids)
                self._states.catch_up()
                self._take(entity, page)
                there = {_id(entity, row) for row in page}
                for id_ in ids:
                    if id_ not in there:
                        absent += 1
                        self.report.sample("absent orphans", entity, None, id_, [])
            if absent:
                self.report.problems.append(
                    f"{absent:,} orphans in {entity} are not in OpenBSP either, or the key may not see them; a run "
                    "without --orphans looks for deletes"
                )

    # -- rows that the states lack

    def _compare(self, entity: str, until: int) -> Outlook:
        """Compare an entity's rows; return which organizations are shown."""
        index, options = self._index, self._options
        known = set(self._known(entity))
        outlook = look(self._source, index, entity, known)
        overlap, kept = round(self._settings.overlap_s * _SECOND), self._poster is not None
        coverage = Coverage(index, entity, now=self._platform_now, overlap=overlap, kept=kept, former=self._is_known)
        closed: set[str] = set()
        for organization in options.organizations or (None,):
            since = coverage.begin(organization, options.since, until)
            if organization is None:
                coverage.show(outlook.shown)
                coverage.hide(known - outlook.shown)
            for at, shown in self._read(entity, Range(since, max(since, until), organization)):
                outlook.shown |= shown
                if organization is None:
                    coverage.show(shown)
                coverage.advance(organization, at)
            if organization is None and options.since is None:
                closed = self._close(entity, coverage, outlook.shown, since)
        return self._conclude(entity, until, coverage, known | outlook.shown, closed)

    def _conclude(self, entity: str, until: int, coverage: Coverage, seen: set[str], closed: set[str]) -> Outlook:
        """Report up to when nothing is missing, of the organizations that are shown after all has been read.

        `seen` were shown before, or the states have rows of them; of `closed` there is no gap any more.
        """
        # Trap: a key that is revoked meanwhile has empty answers, as after the last row.
        outlook = look(self._source, self._index, entity, seen)
        lost = seen - outlook.shown
        whole = False
        if not self._options.organizations:
            coverage.hide(lost)
            # A key without rights is shown nothing: the right one starts where this one did.
            whole = bool(outlook.shown) and coverage.advance(None, until)
            for name in closed - lost:
                coverage.fill(name, None)
        for name in sorted(outlook.shown):
            self.report.of(entity, name)
            if coverage.advance(name, until) if self._options.organizations else whole and name not in coverage.gaps():
                self.report.verified_until[entity, name] = until
        self._hidden |= lost
        for name in sorted(lost):
            self.report.problems.append(
                f"OpenBSP shows no row in {entity} of organization {name}, of which there were some: {_RIGHTS} "
                "Nothing of it is judged"
            )
        return outlook

    def _close(self, entity: str, coverage: Coverage, shown: set[str], until: int) -> set[str]:
        """Read the gaps of former runs, of organizations that are shown now; return which those are."""
        closed = {name: gap for name, gap in coverage.gaps().items() if name in shown}
        for name, gap in closed.items():
            # This run has read what is newer.
            for at, _ in self._read(entity, Range(gap, until, name)) if gap < until else ():
                coverage.fill(name, at)
        return set(closed)

    def _read(self, entity: str, span: Range) -> Iterator[tuple[int, set[str]]]:
        """Compare rows page by page; yield up to when, and their organizations."""
        self.report.spans.append(Span(entity, span.organization, span.since, span.until))
        after: Cursor | None = None
        rows = 0
        while page := self._source.page(entity, span, after):
            # The states after the rows: changes in between make them newer, not different.
            self._states.catch_up()
            self._take(entity, page)
            after = cursor_of(entity, page[-1])
            rows += len(page)
            at = instants.parse(after.at) or span.since
            self._watcher.comparing(entity, span.since, at, span.until, rows)
            yield at, {row["organization_id"] for row in page}

    def _take(self, entity: str, page: list[Row]) -> None:
        read = {_id(entity, row): (row, counterparts.of_row(entity, row)) for row in page}
        states = self._index.facts(entity, list(read))
        equal: list[str] = []
        suspects: list[str] = []
        for id_, (row, of_row) in read.items():
            self.report.of(entity, row["organization_id"]).compared += 1
            verdict, _ = comparison.compare(of_row, states.get(id_))
            (equal if verdict is Verdict.EQUAL else suspects).append(id_)
        self._index.settled(entity, equal)
        self._note_names(entity, [row for id_, (row, _) in read.items() if id_ in states])
        for some in _chunks(suspects, _RECHECK_IDS):
            self._recheck(entity, {id_: str(names.name_of(entity, read[id_][0])) for id_ in some}, states)

    def _note_names(self, entity: str, rows: Iterable[Row]) -> None:
        """Store what rows can be asked for by, where that is not their ids."""
        if ENTITIES[entity].identity:
            self._index.note_names(entity, [str(names.name_of(entity, row)) for row in rows])

    def _recheck(self, entity: str, named: Mapping[str, str], before: Mapping[str, Facts]) -> None:
        """Read rows again whose state differed, then their states, and post those that still differ.

        A webhook follows the commit. So a state that existed before a row was read, and is newer than it, is no race:
        the state has what the platform does not. `named` are the names of the rows by their ids.
        """
        ids = list(named)
        fresh = self._source.by_name(entity, list(named.values()))
        self._states.catch_up()
        states = self._index.facts(entity, ids)
        posted = self._index.posted(entity, ids)
        cuts, turned_away = self._index.cuts(entity, ids), self._index.turned_away(entity, ids)
        repairs: list[_Told] = []
        settled: list[str] = []
        for row in fresh:
            id_, organization = _id(entity, row), row.get("organization_id")
            of_row = counterparts.of_row(entity, row)
            tally = self.report.of(entity, organization)
            if comparison.compare(of_row, before.get(id_))[0] is Verdict.AHEAD and before.get(id_) == states.get(id_):
                tally.conflicts += 1
                self._name("conflicts", entity, row, comparison.compare(of_row, states.get(id_))[1])
                continue
            verdict, columns = comparison.compare(of_row, states.get(id_))
            if verdict in {Verdict.EQUAL, Verdict.AHEAD}:
                settled.append(id_)
                continue
            if id_ in turned_away or (id_ not in states and of_row.stamp <= cuts.get(id_, -2)):
                if id_ in turned_away:
                    self._keep_out(entity, row, refusals.SUPPRESSED.code)
                elif self._may_be_back(row, cuts[id_]):
                    tally.conflicts += 1
                    self._name("conflicts", entity, row, [_DELETED])
                else:
                    self._keep_out(entity, row, _DELETED)
                continue
            told = posted.get(id_)
            same = told is not None and told.facts == of_row
            if same and told is not None and self._is_without_effect(told):
                tally.conflicts += 1
                self._name("conflicts", entity, row, columns)
                continue
            setattr(tally, verdict.value, getattr(tally, verdict.value) + 1)
            self._name(verdict.value, entity, row, columns)
            if same and told is not None and self._now - told.at < _TELL_AGAIN_US:
                tally.pending += 1
                continue
            repairs.append(_Told(Repair(entity, _UPDATE, row), of_row, verdict.value))
        self._index.settled(entity, settled)
        self._post(repairs)

    def _is_without_effect(self, told: Posted) -> bool:
        """Return whether a repair was processed some time ago, although the states do not contain it."""
        return told.heard and self._now - told.at > self._settings.settle_s * _SECOND

    def _may_be_back(self, row: Row, cut: int) -> bool:
        """Return whether a row was made about when the delete of a former one was received.

        One batch of webhooks with both is received after both, so the delete seems to be the later one.
        """
        created_at = instants.parse(str(row.get("created_at")))
        return created_at is not None and created_at > cut - round(self._settings.overlap_s * _SECOND)

    def _name(self, kind: str, entity: str, row: Mapping[str, object], columns: list[str]) -> None:
        organization, id_ = row.get("organization_id"), _id(entity, row)
        self.report.sample(kind, entity, str(organization or ""), id_, columns)
        where = f"{entity} {id_} of {organization}"
        self._watcher.found(f"{kind:<10} {where}{': ' if columns else ''}{', '.join(columns)}")

    def _keep_out(self, entity: str, row: Mapping[str, object], why: str) -> None:
        """Count a row of the platform that the states must not have."""
        self.report.of(entity, str(row.get("organization_id") or "")).kept_out += 1
        self._name("kept out", entity, row, [why])

    def _post(self, repairs: list[_Told]) -> None:
        if self._poster is None or not repairs:
            return
        receipts = self._poster.post([told.repair for told in repairs])
        for (repair, of_row, counted), receipt in zip(repairs, receipts, strict=True):
            organization, id_ = repair.row.get("organization_id"), _id(repair.entity, repair.row)
            tally = self.report.of(repair.entity, organization)
            if receipt.answer == refusals.SUPPRESSED.code:
                setattr(tally, counted, getattr(tally, counted) - 1)
                self._index.turn_away(repair.entity, id_, instants.now())
                self._keep_out(repair.entity, repair.row, receipt.answer)
                continue
            if not receipt.accepted:
                tally.refused += 1
                self.report.sample("refused", repair.entity, organization, id_, [receipt.answer])
                continue
            if repair.action == DELETE:
                tally.deleted += 1
            else:
                tally.posted += 1
            posted = Posted(instants.now(), of_row, heard=False, organization=organization)
            self._index.post(repair.entity, self.report.run, [(id_, posted)])
            if repair.action != DELETE:
                self._note_names(repair.entity, [repair.row])

    # -- rows that only the states have

    def _search(self, entity: str, until: int, outlook: Outlook) -> None:
        before = until - round(self._settings.overlap_s * _SECOND)
        # A search of some organizations skips the ids of the others.
        circle = " ".join([entity, *sorted(self._options.organizations)])
        began = after = self._index.circle(circle)
        found: dict[str, list[Known]] = {}
        asked: dict[str, int] = {}
        ids = 0
        for some in gone.candidates(self._index, entity, began, before, self._settings.delete_ids):
            for organization, rows in gone.by_organization(some).items():
                if self._options.organizations and organization not in self._options.organizations:
                    continue
                witness = None if organization is None else outlook.witnesses.get(organization)
                named = [row for row in rows if witness is not None and names.is_name(entity, row.name)]
                if len(named) < len(rows):
                    self.report.of(entity, organization).unjudged += len(rows) - len(named)
                if organization is None or witness is None or not named:
                    continue
                asked[organization] = asked.get(organization, 0) + len(named)
                found.setdefault(organization, []).extend(gone.absent(self._source, entity, named, witness))
            after = some[-1].id
            ids += len(some)
            self._watcher.asking(entity, ids)
        complete = True
        for organization, rows in found.items():
            tally = self.report.of(entity, organization)
            tally.asked += asked[organization]
            complete = self._delete(entity, organization, rows, outlook.witnesses[organization]) and complete
        if self._poster is not None and complete:
            self._index.turn(circle, "" if ids < self._settings.delete_ids else after)

    def _delete(self, entity: str, organization: str, rows: list[Known], witness: str) -> bool:
        """Post deletes of rows, unless they are too many. Returns whether that was decided."""
        tally = self.report.of(entity, organization)
        # Once more: for transient errors, and rows that the states have dropped meanwhile.
        absent = gone.absent(self._source, entity, rows, witness)
        self._states.catch_up()
        states = self._index.facts(entity, [row.id for row in absent])
        absent = [row for row in absent if row.id in states]
        told = self._index.posted(entity, [row.id for row in absent])
        repairs: list[_Told] = []
        withhold = not self._options.allow_deletes and gone.too_many(
            len(absent), tally.asked, self._settings.delete_share, self._settings.delete_minimum
        )
        for row in absent:
            ids = {"id": row.id, "organization_id": organization, "conversation_id": row.conversation}
            before = told.get(row.id)
            same = before is not None and before.facts is None
            if same and before is not None and self._is_without_effect(before):
                tally.conflicts += 1
                self._name("conflicts", entity, ids, [])
                continue
            tally.gone += 1
            self._name("gone", entity, ids, [])
            if withhold:
                tally.withheld += 1
            elif same and before is not None and self._now - before.at < _TELL_AGAIN_US:
                tally.pending += 1
            else:
                row_ids = {name: value for name, value in ids.items() if value is not None}
                repairs.append(_Told(Repair(entity, DELETE, row_ids), None, "gone"))
        if withhold:
            self.report.problems.append(
                f"{len(absent):,} of {tally.asked:,} rows in {entity} of organization {organization} are gone from "
                "OpenBSP, more than may be deleted without asking: look at them, then run again with --allow-deletes"
            )
        self._post(repairs)
        return not withhold

    # -- what became of it

    def _confirm(self) -> None:
        """Wait until the states contain the repairs."""

        def settled() -> bool:
            self._states.catch_up()
            return not self._settle()

        wait_until(settled, patience_s=self._settings.wait_s, every_s=_LOOK_AGAIN_S)

    def _settle(self) -> int:
        """Count this run's repairs in the states; return how many are still missing."""
        left = 0
        after = ("", "")
        while told := self._index.of_run(self.report.run, after, _WINDOW):
            after = told[-1][:2]
            for entity in COUNTERPARTS:
                own = {id_: posted for name, id_, posted in told if name == entity}
                states = self._index.facts(entity, list(own))
                settled = [id_ for id_, posted in own.items() if _has(posted, states.get(id_))]
                self._index.settled(entity, settled)
                for id_ in settled:
                    self.report.of(entity, own[id_].organization).confirmed += 1
                left += sum(not posted.heard for id_, posted in own.items() if id_ not in settled)
        return left


def _has(posted: Posted, state: Facts | None) -> bool:
    """Return whether the states contain a repair: of a delete, that there is no state."""
    if posted.facts is None:
        return state is None
    return comparison.compare(posted.facts, state)[0] in {Verdict.EQUAL, Verdict.AHEAD}


def _id(entity: str, row: Mapping[str, Any]) -> str:
    """Return the id of a row that has one, or of which only ids are left."""
    return str(id_of(ENTITIES[entity], dict(row)))


def _chunks(ids: list[str], size: int) -> Iterable[list[str]]:
    return (ids[at : at + size] for at in range(0, len(ids), size))
