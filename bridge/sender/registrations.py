"""Which webhooks an OpenBSP has registered, compared with which it should have. Pure.

How its triggers use the rows of `webhooks`: for each organization and table at most three rows fire, in no defined
order; a fourth is silently ignored. A row fires for the operations that it lists, and sends its token as bearer token.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import SplitResult, urlsplit

TABLE = "webhooks"
OPERATIONS = ("insert", "update")
#: How many rows of an organization and table OpenBSP's trigger calls.
MOST_ROWS = 3
PATH = "/webhooks"
_PORTS = {"http": 80, "https": 443}
_NOWHERE = urlsplit("")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What should be registered for a table: this address, with this token."""

    organization_id: str
    entity: str
    url: str
    token: str

    def row(self) -> dict[str, Any]:
        """Return the row of `webhooks`."""
        return {
            "organization_id": self.organization_id,
            "table_name": self.entity,
            "operations": list(OPERATIONS),
            "url": self.url,
            "token": self.token,
        }


@dataclass(frozen=True, slots=True)
class Step:
    """A change to the rows of `webhooks`: insert `columns` (no `row_id`), set them, or delete the row (None)."""

    entity: str
    why: str
    row_id: str | None
    columns: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Plan:
    """The changes that would repair it, and those that only a person can make."""

    steps: list[Step]
    hindrances: list[str]


def plan(rows: Iterable[Mapping[str, Any]], wanted: Wanted) -> Plan:
    """Return how to get from an organization's rows to the wanted registration of one table."""
    there = [row for row in rows if row.get("table_name") == wanted.entity]
    ours = sorted((row for row in there if _is_ours(row, wanted)), key=_order(wanted))
    strangers = len(there) - len(ours)
    if not ours:
        if strangers >= MOST_ROWS:
            return Plan([], [f"{wanted.entity}: {_too_many(strangers)}; delete one of them, then connect again"])
        return Plan([Step(wanted.entity, f"no webhook is registered{_near(there, wanted)}", None, wanted.row())], [])
    kept, *doubles = ours
    steps = [
        Step(wanted.entity, "registered twice: every event would come again", str(row["id"]), None) for row in doubles
    ]
    faults = _faults(kept, wanted)
    if faults:
        columns = {name: value for name, value in wanted.row().items() if kept.get(name) != value}
        operations = _operations(kept)
        if columns.pop("operations", None) and not set(OPERATIONS) <= set(operations):
            # Trap: additional operations stay, such as `delete`.
            others = [name for name in operations if str(name).lower() not in OPERATIONS]
            columns["operations"] = [*others, *OPERATIONS]
        steps.insert(0, Step(wanted.entity, "; ".join(faults), str(kept["id"]), columns))
    if strangers >= MOST_ROWS:
        return Plan(
            steps, [f"{wanted.entity}: {_too_many(strangers)}, so this one may get nothing; delete one of them"]
        )
    return Plan(steps, [])


def strays(rows: Iterable[Mapping[str, Any]], wanted: Wanted, entities: Iterable[str]) -> list[Mapping[str, Any]]:
    """Return the rows of tables other than these with the address of `wanted`, whatever its entity.

    The bare host is not enough here: the receiver of another table may well be at the root of a gateway.
    """
    known = frozenset(entities)
    path = _parts(wanted.url).path.rstrip("/")
    return [
        row
        for row in rows
        if row.get("table_name") not in known
        and _is_ours(row, wanted)
        and (_parts(row.get("url")).path.rstrip("/") == path or row.get("token") == wanted.token)
    ]


def meant(table_name: object, entities: Iterable[str]) -> str | None:
    """Return the table whose name was registered in another spelling, None if there is none."""
    name = str(table_name).strip().lower().rpartition(".")[2]
    return next((entity for entity in entities if entity in {name, f"{name}s"}), None)


def removal(rows: Iterable[Mapping[str, Any]], wanted: Wanted) -> list[Step]:
    """Return the steps that remove all webhooks of a table with the address."""
    return [
        Step(wanted.entity, "to be removed", str(row["id"]), None)
        for row in rows
        if row.get("table_name") == wanted.entity and _is_ours(row, wanted)
    ]


def _faults(row: Mapping[str, Any], wanted: Wanted) -> list[str]:
    faults = []
    operations = _operations(row)
    missing = [operation for operation in OPERATIONS if operation not in operations]
    if missing:
        faults.append(f"{' and '.join(missing)} not registered: {_lost(missing)}")
    if row.get("url") != wanted.url:
        faults.append(_elsewhere(row.get("url"), _parts(wanted.url)))
    if row.get("token") != wanted.token:
        faults.append(_wrong_token(row.get("token"), wanted.token))
    return faults


def _wrong_token(registered: object, wanted: str) -> str:
    token = str(registered or "")
    lost = "every webhook is answered 401 and lost"
    if not token.strip():
        return f"no token: {lost}"
    kind, _, rest = token.strip().partition(" ")
    if kind.lower() == "bearer" and rest.strip() == wanted:
        return f'its token begins with "{kind}", which OpenBSP adds itself: {lost}'
    if token.strip() == wanted:
        return f"its token has white space around it: {lost}"
    return "another token than the one given"


def _near(there: Iterable[Mapping[str, Any]], wanted: Wanted) -> str:
    """Say of rows that are not this bridge's, and perhaps should be, where they lead."""
    other = _parts(wanted.url)
    places = [
        f"{parts.hostname or 'no address'}{'' if parts.port is None else f':{parts.port}'}"
        for row in there
        for parts in (_parts(row.get("url")),)
        if row.get("token") == wanted.token or (parts.hostname, parts.path) == (other.hostname, other.path)
    ]
    if not places:
        return ""
    return f" for {other.netloc}; one leads to {', '.join(places)}: if that is a mistake, delete it in OpenBSP"


def _elsewhere(url: object, wanted: SplitResult) -> str:
    if any(map(str.isspace, str(url))):
        return "its address has white space in it: webhooks are lost"
    registered = _parts(url)
    if registered.path.rstrip("/") != wanted.path.rstrip("/"):
        path = registered.path or "empty"
        return f"its path is {path}, not {wanted.path}: every webhook is answered 404 and lost"
    if registered.scheme != wanted.scheme:
        return f"its address begins with {registered.scheme}, not {wanted.scheme}: webhooks are lost"
    if registered.query or registered.fragment or "@" in registered.netloc:
        return "its address has a user name, a query or a fragment, which none of a bridge has"
    return "its address is another than the one given"


def _lost(missing: list[str]) -> str:
    return "statuses and edits never arrive" if missing == ["update"] else "new rows never arrive"


def _too_many(others: int) -> str:
    return f"{others} other webhooks are registered, and OpenBSP calls only {MOST_ROWS}"


def _is_ours(row: Mapping[str, Any], wanted: Wanted) -> bool:
    """Whether a row is a registration of this bridge, perhaps a wrong one.

    The host alone does not decide: behind a gateway other receivers share it, at paths of their own.
    """
    one, other = _parts(row.get("url")), _parts(wanted.url)
    if _host(one) != _host(other):
        return False
    return one.path.rstrip("/") in {"", other.path.rstrip("/")} or row.get("token") == wanted.token


def _operations(row: Mapping[str, Any]) -> list[Any]:
    operations = row.get("operations")
    return operations if isinstance(operations, list) else []


def _parts(url: object) -> SplitResult:
    """Return the parts of a registered address; empty ones if it is invalid."""
    try:
        parts = urlsplit("".join(str(url).split()))
        # Trap: a port is parsed only when it is used.
        _ = parts.port
    except ValueError:
        return _NOWHERE
    return parts


def _host(parts: SplitResult) -> tuple[str | None, int | None]:
    """Return host and port; no port where it is the scheme's default."""
    return parts.hostname, None if parts.port == _PORTS.get(parts.scheme) else parts.port


def _order(wanted: Wanted) -> Any:
    """Prefer the row that needs the fewest changes; ties by id, so that a second run decides alike."""
    return lambda row: (len(_faults(row, wanted)), str(row.get("id")))
