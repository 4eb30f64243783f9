"""`bridge erase`: the plan, the deletions, the wait until they show, and the report."""

import json
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import quote

import httpx
from rich.console import Console
from rich.table import Table
from rich.text import Text

from avro.catalogue import TOPICS
from bridge.client import BridgeClient
from bridge.dead_letters.letters import DeadLetterTopic
from bridge.dead_letters.letters import Wanted as AllLetters
from bridge.erase.find import Found, Row, States, Wanted
from bridge.erase.places import others, topics
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.terminal import printable

_TIMEOUT_S = 5.0
_POLL_S = 0.25
#: How many rows a table lists.
_MOST_ROWS = 50


class EraseError(Exception):
    """Why nothing was erased, or not all of it."""


@dataclass(frozen=True, slots=True)
class Servers:
    """Where topics, schemas, views and the bridge are."""

    kafka: KafkaSettings
    registry: Registry
    topics: TopicSettings
    views: "Views"
    bridge_url: str
    bridge_token: str | None


class Views:
    """The views, asked with a token that sees all rows that are erased."""

    def __init__(self, url: str, token: str | None, *, transport: httpx.BaseTransport | None = None) -> None:
        """Connect to nothing yet."""
        headers = {} if token is None else {"Authorization": f"Bearer {token}"}
        self._url = url
        self._client = httpx.Client(
            base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False, transport=transport
        )

    def has(self, row: Row) -> bool | None:
        """Return whether a row is shown; None while they do not answer for it. Raises EraseError."""
        path = f"/{row.entity}/{quote(row.id, safe='')}"
        try:
            status = self._client.get(path).status_code
        except httpx.TransportError:
            return None
        if status in {HTTPStatus.OK, HTTPStatus.NOT_FOUND}:
            return status == HTTPStatus.OK
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR:
            return None
        raise EraseError(f"{self._url}{path} answers {status}: give a token of the views that may see these rows")

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


def plan(servers: Servers, wanted: Wanted, console: Console, *, as_json: bool) -> None:
    """Print what would be erased, and the places."""
    with States(servers.kafka, servers.registry, servers.topics.prefix) as states:
        found = states.find(wanted)
    _report(servers, wanted, found, [], console, as_json=as_json, done=False)


def execute(
    servers: Servers, wanted: Wanted, client: BridgeClient, console: Console, *, as_json: bool, patience_s: float
) -> bool:
    """Delete, wait, report; return whether everything is gone that can be gone now.

    Raises EraseError, StoppedError: some may be deleted then, and erasing again goes on with the rest.
    """
    with States(servers.kafka, servers.registry, servers.topics.prefix) as states:
        found = states.find(wanted)
        rows = found.all()
        for row in rows[-1:] + rows[:1]:
            # Trap: to a token that may not see a row, it is not there either.
            if row.found and servers.views.has(row) is False:
                raise EraseError(
                    f"the views do not show {row.entity} {row.id}, which the states have: give a token that may see it"
                )
        for row in rows:
            outcome = client.send(row.body())
            if not outcome.taken:
                raise EraseError(
                    f"the bridge refuses to delete {row.entity} {row.id}: {outcome.disposition}: {outcome.text}"
                )
        left = _wait(states, servers.views, rows, patience_s)
    _report(servers, wanted, found, left, console, as_json=as_json, done=True)
    return not left and not found.unreadable


def _wait(states: States, views: Views, rows: Sequence[Row], patience_s: float) -> list[str]:
    """Return what still shows after so many seconds, in words; nothing as soon as nothing does."""
    deadline = time.monotonic() + patience_s
    gone: set[tuple[str, str]] = set()
    shown = list(rows)
    while True:
        without = states.left(rows, gone)
        shown = [row for row in shown if views.has(row) is not False]
        if not without and not shown:
            return []
        if time.monotonic() >= deadline:
            return [f"{row.entity} {row.id}: no tombstone in the state topic" for row in without] + [
                f"{row.entity} {row.id}: the views show it, or do not answer" for row in shown
            ]
        time.sleep(_POLL_S)


def _report(
    servers: Servers,
    wanted: Wanted,
    found: Found,
    left: Sequence[str],
    console: Console,
    *,
    as_json: bool,
    done: bool,
) -> None:
    now = datetime.now(UTC)
    settings = Topics(servers.kafka, servers.topics).settings(list(TOPICS))
    letters = _letters(servers, wanted, found)
    places = [*topics(settings, now, len(letters)), *others(_spooled(servers))]
    if as_json:
        report = {
            "at": now.isoformat(),
            "done": done,
            "rows": [row._asdict() for row in found.all()],
            "left": list(left),
            "unreadable_states": found.unreadable,
            "dead_letters": letters,
            "places": [{**asdict(place), "until": place.until and place.until.isoformat()} for place in places],
        }
        print(printable(json.dumps(report, ensure_ascii=False)))  # noqa: T201 the command's output
        return
    rows = found.all()
    verb = "were deleted" if done else "would be deleted: --execute does it"
    console.print(Text(f"{len(rows)} rows {verb}", "bold"))
    for row in rows[:_MOST_ROWS]:
        console.print(Text(printable(f"  {row.entity} {row.id}{'' if row.found else ' (the states do not have it)'}")))
    if len(rows) > _MOST_ROWS:
        console.print(f"  and {len(rows) - _MOST_ROWS} more: --json has all")
    if found.unreadable:
        console.print(Text(f"{found.unreadable} state records cannot be read: whose they are is not known", "bold red"))
    for text in left:
        console.print(Text(printable(f"LEFT  {text}"), "bold red"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("place", "what is left", "gone by", ""):
        table.add_column(column, overflow="fold")
    for place in places:
        until = "no date" if place.until is None else f"{place.until:%Y-%m-%d %H:%M}Z"
        table.add_row(place.name, place.left, until, place.condition)
    console.print()
    console.print(table)
    for letter in letters:
        console.print(f"dead letter {letter}")


def _letters(servers: Servers, wanted: Wanted, found: Found) -> list[str]:
    """Return the positions of dead letters that name one of the rows, or whose payload has the contact's address."""
    ids = {row.id for row in found.all()}
    address = None if wanted.contact is None else wanted.contact.encode()
    with DeadLetterTopic(servers.kafka, servers.registry, servers.topics.prefix) as topic:
        return [
            str(letter.position)
            for letter in topic.read(topic.range(AllLetters()), AllLetters())
            if letter.fields["key"] in ids or (address is not None and address in (letter.payload or b""))
        ]


def _spooled(servers: Servers) -> int | None:
    """Return how many events wait in the bridge's spool, None if it does not say."""
    headers = {} if servers.bridge_token is None else {"Authorization": f"Bearer {servers.bridge_token}"}
    try:
        said = httpx.get(
            f"{servers.bridge_url.rstrip('/')}/readyz", headers=headers, timeout=_TIMEOUT_S, trust_env=False
        ).json()
        return int(said["spool"]["events"])
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return None
