"""`bridge connect`: registers this bridge with an OpenBSP, reports obstacles, and tests the whole path."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from http import HTTPStatus
from ipaddress import ip_address
from urllib.parse import urlsplit

import httpx

from avro import jsontext, writers
from avro.columns import ENTITIES
from bridge.http import refusals
from bridge.sender.errors import PlatformError
from bridge.sender.platform import Platform
from bridge.sender.registrations import PATH, TABLE, Plan, Step, Wanted, meant, plan, removal, strays
from openbsp.http.refusals import UNSUPPORTED_MEDIA_TYPE

Say = Callable[[str], None]

#: OpenBSP's sender's time-out; it does not wait for a later answer.
_TIMEOUT_S = 5.0
_OF_PROXIES = frozenset({HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE, HTTPStatus.GATEWAY_TIMEOUT})


@dataclass(frozen=True, slots=True)
class Connection:
    """An organization of OpenBSP and the target of its webhooks."""

    organization_id: str
    url: str
    token: str

    def wanted(self) -> list[Wanted]:
        """Return what should be registered: a webhook for each table of the catalogue."""
        return [Wanted(self.organization_id, entity, self.url, self.token) for entity in ENTITIES]


def address(url: str) -> str:
    """Return the address of the webhooks, given the bridge's base address or that one."""
    return url.rstrip("/") if urlsplit(url).path.rstrip("/") else url.rstrip("/") + PATH


def is_address(url: str) -> bool:
    """Return whether OpenBSP could post to such an address."""
    try:
        parts = urlsplit(url)
        # An invalid port raises here.
        _ = parts.port
    except ValueError:
        return False
    if parts.query or parts.fragment or "@" in parts.netloc:
        return False
    return parts.scheme in {"http", "https"} and bool(parts.hostname) and not any(map(str.isspace, url))


def connect(platform: Platform, connection: Connection, say: Say, *, dry_run: bool) -> bool:
    """Register missing webhooks and repair wrong ones; safe to repeat. Return whether nothing is wrong any more."""
    rows = _rows(platform, connection)
    plans = _plans(rows, connection)
    for entity, found in plans:
        if not found.steps and not found.hindrances:
            say(f"ok       {entity}: registered")
    steps = [step for _, found in plans for step in found.steps]
    _carry_out(platform, steps, say, dry_run=dry_run)
    hindrances = [hindrance for _, found in plans for hindrance in found.hindrances] + _refused(rows, connection)
    for hindrance in hindrances:
        say(f"hindered {hindrance}")
    return not hindrances


def disconnect(platform: Platform, connection: Connection, say: Say, *, dry_run: bool) -> None:
    """Remove all webhooks that lead to this bridge."""
    rows = _rows(platform, connection)
    steps = [step for wanted in connection.wanted() for step in removal(rows, wanted)]
    steps += [
        Step(str(row.get("table_name")), "to be removed", str(row["id"]), None)
        for row in strays(rows, connection.wanted()[0], ENTITIES)
    ]
    if not steps:
        say("ok       nothing is registered for this bridge")
    _carry_out(platform, steps, say, dry_run=dry_run)


def check(platform: Platform, connection: Connection, say: Say) -> bool:
    """Report errors in the registration, and send each table's newest row to the bridge as OpenBSP would.

    That changes nothing: the states have the row as it is now, or should have it. Return whether all is well.
    """
    well = True
    rows = _rows(platform, connection)
    for fault in _refused(rows, connection):
        say(f"wrong    {fault}")
        well = False
    for entity, found in _plans(rows, connection):
        faults = [f"{step.entity}: {step.why}" for step in found.steps] + found.hindrances
        for fault in faults:
            say(f"wrong    {fault}")
        if not faults:
            say(f"ok       {entity}: registered")
        well = well and not faults
    for fault in _unreachable(connection.url):
        say(f"perhaps  {fault}")
    for wanted in connection.wanted():
        well = _probe(platform, wanted, say) and well
    return well


def _refused(rows: list[dict[str, object]], connection: Connection) -> list[str]:
    """Report tables that are registered for this bridge and that it does not accept."""
    found = [row.get("table_name") for row in strays(rows, connection.wanted()[0], ENTITIES)]
    return [
        f"{name}: registered for this bridge, but no table of OpenBSP, so nothing is ever sent; {right} is its name"
        if (right := meant(name, ENTITIES)) is not None
        else f"{name}: registered for this bridge, which refuses it (422). Such rows may hold access tokens: remove "
        "that webhook in OpenBSP"
        for name in found
    ]


def _plans(rows: list[dict[str, object]], connection: Connection) -> list[tuple[str, Plan]]:
    return [(wanted.entity, plan(rows, wanted)) for wanted in connection.wanted()]


def _rows(platform: Platform, connection: Connection) -> list[dict[str, object]]:
    return platform.rows(TABLE, organization_id=f"eq.{connection.organization_id}", order="id")


def _carry_out(platform: Platform, steps: Iterable[Step], say: Say, *, dry_run: bool) -> None:
    for step in steps:
        verb = "register" if step.row_id is None else "remove" if step.columns is None else "repair"
        say(f"{'would ' if dry_run else ''}{verb} {step.entity}: {step.why}")
        if dry_run:
            continue
        if step.row_id is None:
            platform.insert(TABLE, step.columns or {})
        elif step.columns is None:
            platform.delete(TABLE, step.row_id)
        else:
            platform.update(TABLE, step.row_id, step.columns)


def _unreachable(url: str) -> list[str]:
    parts = urlsplit(url)
    host = parts.hostname or ""
    try:
        local = not ip_address(host).is_global
    except ValueError:
        local = host == "localhost" or "." not in host
    if local:
        return [f"{host} can only be reached from its own network; a hosted OpenBSP posts over the internet"]
    if parts.scheme != "https":
        return ["http sends the token and the messages in the clear; put TLS before the bridge"]
    return []


def _probe(platform: Platform, wanted: Wanted, say: Say) -> bool:
    # Not by id as well: contacts_addresses has none.
    query = {"organization_id": f"eq.{wanted.organization_id}", "order": "updated_at.desc.nullslast", "limit": "1"}
    try:
        rows = platform.rows(wanted.entity, **query)
    except PlatformError as error:
        say(f"wrong    {wanted.entity}: its rows cannot be read, so `bridge reconcile` cannot compare them: {error}")
        return False
    try:
        # Of a wrong type, of which nothing is kept, not even a dead letter: tests whether the token is accepted.
        answer = _post(wanted, b"", "text/plain", {writers.HTTP_HEADER: writers.http_value([wanted.organization_id])})
        accepted = _object(answer).get("reason") == UNSUPPORTED_MEDIA_TYPE.code
        if accepted and rows:
            body = jsontext.encode({"data": rows[0], "entity": wanted.entity, "action": "update"})
            answer = _post(wanted, body, "application/json", {})
    except httpx.HTTPError as error:
        say(f"wrong    {wanted.entity}: {wanted.url} {_unanswered(error)}")
        return False
    if accepted and not rows:
        say(
            f"ok       {wanted.entity}: no row yet, so nothing to try with; the bridge accepts the token. If there are "
            "rows, the key may not see them"
        )
        return True
    return _is_well(wanted, answer, say)


def _is_well(wanted: Wanted, answer: httpx.Response, say: Say) -> bool:
    content = _object(answer)
    reason = content.get("reason", "")
    if answer.is_success and "event_id" in content:
        say(f"ok       {wanted.entity}: {content.get('disposition')} as event {content['event_id']}")
        return True
    if reason == refusals.SUPPRESSED.code:
        say(f"ok       {wanted.entity}: the bridge accepts the token, and turns away the contact of the newest row")
        return True
    if reason == refusals.WRONG_ORGANIZATION.code:
        say(
            f"wrong    {wanted.entity}: the token is bound to other organizations than {wanted.organization_id}, so "
            "every webhook is answered 403. Make one with `bridge token new NAME --organization "
            f"{wanted.organization_id}`, and repeat `bridge connect` with it"
        )
        return False
    detail = content.get("detail") or _foreign(answer)
    say(f"wrong    {wanted.entity}: answered {answer.status_code} {reason}: {detail}")
    return False


def _unanswered(error: httpx.HTTPError) -> str:
    if isinstance(error, httpx.TimeoutException):
        return f"did not answer from here: {type(error).__name__}: OpenBSP does not wait longer than {_TIMEOUT_S:g} s"
    if "SSL" in str(error):
        return f"did not answer from here: TLS fails, as it would for OpenBSP: {error}"
    return f"did not answer from here: {type(error).__name__}: {error}"


def _foreign(answer: httpx.Response) -> str:
    """Say what an answer means that is none of a bridge."""
    if answer.has_redirect_location:
        return f"it leads on to {answer.headers['Location']}, and OpenBSP posts once: give that as --url"
    if answer.status_code in _OF_PROXIES:
        return "a proxy that does not reach the bridge; is it running?"
    return "not the answer of a bridge; is something else at this address?"


def _post(wanted: Wanted, body: bytes, content_type: str, more: dict[str, str]) -> httpx.Response:
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {wanted.token}", **more}
    return httpx.post(wanted.url, content=body, headers=headers, timeout=_TIMEOUT_S)


def _object(answer: httpx.Response) -> dict[str, object]:
    try:
        content = answer.json()
    except (ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
