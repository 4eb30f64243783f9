"""`bridge erase`: the plan, the deletions, the wait until they show, the report, and its verification."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import httpx

from avro.catalogue import TOPICS
from bridge.client import BridgeClient
from bridge.cluster import STATE_TOPICS, Cluster
from bridge.contact_tables import TABLES
from bridge.erase import places, spools
from bridge.erase.errors import EraseError
from bridge.erase.find import Found, Row, States, Wanted
from bridge.erase.places import Place
from bridge.erase.report import Former, Report
from bridge.erase.search import search
from bridge.erase.sought import Sought
from bridge.erase.views import Views
from bridge.suppressions.hashes import Contact, key_id
from bridge.suppressions.topic import add, entries, suppress_rows
from openbsp.bearer import bearer
from openbsp.kafka.topics import Topics
from openbsp.waiting import wait_until

_TIMEOUT_S = 5.0
_POLL_S = 0.25
#: How long processing the deletes may take.
_SETTLES_S = 10.0
#: Printed for a row without a state that still exists.
_LIVE = {entity: f"the newest value in {topic} is of a row that is not deleted" for entity, topic in TABLES.items()}


@dataclass(frozen=True, slots=True)
class Servers:
    """Topics, schemas, views and the bridge; `spools` are directories of spools on this machine."""

    cluster: Cluster
    views: Views
    bridge_url: str
    bridge_token: str | None
    spools: tuple[Path, ...] = ()
    #: Of the suppression list; None where the deployment has none.
    key: bytes | None = None


def plan(servers: Servers, wanted: Wanted) -> Report:
    """Return what would be erased, and the places. Raises EraseError."""
    listed = _listed(servers, wanted)
    with States(servers.cluster) as states:
        found = states.find(wanted)
    found.add(spools.find(servers.spools, wanted))
    return _report(servers, wanted, found, [], listed=listed, done=False)


def execute(servers: Servers, wanted: Wanted, client: BridgeClient, *, patience_s: float) -> Report:
    """Delete and wait; return what is gone and what is left.

    Raises EraseError, StoppedError: some may be deleted then, and a second run deletes the rest.
    """
    listed = _listed(servers, wanted)
    named = _contact(wanted)
    if named is not None and servers.key is not None:
        # First of all: rows that arrive during the search would stay.
        add(servers.cluster, servers.key, named)
    with States(servers.cluster) as states:
        found = states.find(wanted)
        found.add(spools.find(servers.spools, wanted))
        rows = found.all()
        shown = _shown(rows)
        for row in shown[-1:] + shown[:1]:
            # Trap: for a token without access to a row, it does not exist either.
            if row.found and servers.views.has(row) is False:
                raise EraseError(
                    f"the views do not show {row.entity} {row.id}, which the states have: give a token that may see it"
                )
        if named is not None and servers.key is not None:
            contacts = [(row.id, row.organization_id) for row in rows if row.entity == "contacts"]
            suppress_rows(servers.cluster, servers.key, named, contacts)
        for directory in servers.spools:
            spools.remove(directory, rows, wanted, patience_s=patience_s)
        for row in rows:
            outcome = client.send(row.body())
            if not outcome.taken:
                raise EraseError(
                    f"the bridge refuses to delete {row.entity} {row.id}: {outcome.disposition}: {outcome.text}"
                )
        left = _wait(states, servers.views, rows, patience_s)
    report: Report

    def is_settled() -> bool:
        nonlocal report
        report = _report(servers, wanted, found, left, listed=listed, done=True)
        return not report.faults

    # Other conversations change a moment later: a message may have been the last one of its group.
    wait_until(is_settled, patience_s=0 if left else _SETTLES_S, every_s=1.0)
    return report


def from_spools(directories: Sequence[Path], wanted: Wanted, *, patience_s: float) -> Report:
    """Remove matching events from spools, without Kafka; return what is left there. Raises EraseError."""
    named = Found()
    for entity, ids in (("messages", wanted.messages), ("conversations", wanted.conversations)):
        named.add(Row(entity, id_, wanted.organization_id, found=False) for id_ in sorted(ids))
    named.add(spools.find(directories, wanted))
    rows = named.all()
    removed = {directory: spools.remove(directory, rows, wanted, patience_s=patience_s) for directory in directories}
    sought = Sought.of(rows, wanted)
    searched = [spools.search(directory, sought) for directory in directories]
    undecided = spools.count_undecided(directories, sought)
    now = datetime.now(UTC)
    found = [
        replace(place, was=number + (place.was or 0), gone=number)
        for place, number in zip(places.spools(None, searched, now), removed.values(), strict=True)
    ]
    return Report(now, wanted, rows, found, undecided=undecided, done=True)


def verify(servers: Servers, former: Former) -> Report:
    """Search every searchable place again for the rows of a report. Raises EraseError."""
    now = datetime.now(UTC)
    shown = sum(row.found and servers.views.has(row) is not False for row in _shown(former.rows))
    sought = Sought.of(former.rows, former.wanted)
    known = sum(row.found for row in former.rows)
    found, letters = _places(servers, sought, known, shown, now, done=True, deleted_at=former.at)
    since = [_since(place, former.was.get(place.name)) for place in found]
    return Report(now, former.wanted, former.rows, since, dead_letters=letters, done=True, verified=True)


def _since(place: Place, was: int | None) -> Place:
    """Return a place with what it had when the report was made, and what has gone since."""
    if was is None or place.was is None:
        return place
    still = place.was - (place.gone or 0)
    return replace(place, was=was, gone=max(0, was - still))


def _wait(states: States, views: Views, rows: Sequence[Row], patience_s: float) -> list[str]:
    """Return what is still visible after so many seconds, in words; nothing as soon as nothing is."""
    gone: set[Row] = set()
    without: list[Row] = []
    shown = _shown(rows)

    def is_gone() -> bool:
        nonlocal without, shown
        without = states.left(rows, gone)
        shown = [row for row in shown if views.has(row) is not False]
        return not without and not shown

    if wait_until(is_gone, patience_s=patience_s, every_s=_POLL_S):
        return []
    return [f"{row.entity} {row.id}: {_LIVE.get(row.entity, 'no tombstone in the state topic')}" for row in without] + [
        f"{row.entity} {row.id}: the views show it, or do not answer" for row in shown
    ]


def _shown(rows: Sequence[Row]) -> list[Row]:
    """Return the rows with a view of their own: contacts are visible in conversations only."""
    return [row for row in rows if row.entity in STATE_TOPICS]


def _report(servers: Servers, wanted: Wanted, found: Found, left: list[str], *, listed: bool, done: bool) -> Report:
    """Return the report; `listed`: the contact was on the suppression list before."""
    now = datetime.now(UTC)
    rows = found.all()
    known = sum(row.found for row in rows)
    # Rows still visible are in `left`, by id.
    places_, letters = _places(servers, Sought.of(rows, wanted), known, 0 if done else known, now, done=done)
    unknown = wanted.contact is not None and not rows and not listed
    return Report(now, wanted, rows, places_, left, letters, found.unreadable, unknown_address=unknown, done=done)


def _places(
    servers: Servers,
    sought: Sought,
    known: int,
    shown: int,
    now: datetime,
    *,
    done: bool,
    deleted_at: datetime | None = None,
) -> tuple[list[Place], list[str]]:
    cluster = servers.cluster
    settings = Topics(cluster.kafka, cluster.topics).settings(list(TOPICS))
    traces = search(cluster, sought)
    searched = [spools.search(directory, sought) for directory in servers.spools]
    found = [
        *places.topics(settings, now, traces, deleted=done),
        *places.spools(_spooled(servers), searched, now),
        places.views(known, shown, deleted=done),
        *_suppression(servers, sought.wanted, now, done=done),
        places.stores(servers.views.compaction(), deleted_at or now, now, deleted=done),
        *places.others(),
    ]
    letters = traces["dead-letters"].positions if "dead-letters" in traces else []
    return found, letters


def _suppression(servers: Servers, wanted: Wanted, now: datetime, *, done: bool) -> list[Place]:
    """Return whether new webhooks of the contact are refused; nothing where no contact is named."""
    if wanted.contact is None:
        return []
    if servers.key is None:
        return [places.suppression(None, now)]
    return [places.suppression(not done or _listed(servers, wanted), now)]


def _listed(servers: Servers, wanted: Wanted) -> bool:
    """Return whether a contact is named and on the suppression list. Raises EraseError if the key is not the list's."""
    named = _contact(wanted)
    if named is None or servers.key is None:
        return False
    found = entries(servers.cluster)
    others = sum(entry.key_id not in {None, key_id(servers.key)} for entry in found)
    if others:
        # Trap: this command would find what it wrote, and the bridges, which have the other key, match nobody with it.
        raise EraseError(
            f"the suppression list has entries of another key than this BRIDGE_SUPPRESSION_KEY, {others}: set that of "
            "the bridges, or none to erase without the list"
        )
    return named.hash(servers.key) in {entry.hash for entry in found}


def _contact(wanted: Wanted) -> Contact | None:
    return None if wanted.contact is None else Contact(wanted.contact, wanted.service, wanted.organization_id)


def _spooled(servers: Servers) -> int | None:
    """Return how many events wait in the bridge's spool, None if unknown."""
    headers = {} if servers.bridge_token is None else {"Authorization": bearer(servers.bridge_token)}
    try:
        said = httpx.get(
            f"{servers.bridge_url.rstrip('/')}/readyz", headers=headers, timeout=_TIMEOUT_S, trust_env=False
        ).json()
        return int(said["spool"]["events"])
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, KeyError, TypeError):
        return None
