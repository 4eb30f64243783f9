"""Claims: rows of writers that are bound to organizations, kept apart from those of trusted writers.

A claim's key is the organizations that its writers may write for; its value is their facts. A row that names its
organization claims the id for that one. The owner of a row is the organization that trusted writers name, else the one
that claimed its id first. Facts of trusted writers count, and claims of writers that may write for the owner. All other
claims are stored, as their organization may turn out to be the owner, and change nothing.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeVar, cast

from msgspec import structs

from openbsp.merge import deletion

#: At most so many claims of one row are stored: those received first.
LIMIT = 8

#: No organization that a token is bound to has one in its id.
_SEPARATOR = " "


class _Facts(Protocol):
    """What the facts of all rows have."""

    @property
    def organizations(self) -> list[str]: ...

    @property
    def deletes(self) -> list[str | None]: ...

    @property
    def claims(self) -> dict[str, Any]: ...


F = TypeVar("F", bound=_Facts)
#: `(claimed at, facts)`: when the first row that names its organization was received, None if there is none.
Claim = tuple[int | None, F]
Claims = dict[str, Claim[F]]


class Writer(NamedTuple):
    """The key of a claim, and whether its rows name their organization."""

    key: str
    names: bool


def writer_of(organizations: Collection[str], named: str | None) -> Writer:
    """Return the writer of a row that names `named`, sent by a writer for `organizations`."""
    return Writer(_SEPARATOR.join(sorted(organizations)), names=False) if named is None else Writer(named, names=True)


def organizations_of(key: str) -> list[str]:
    """Return the organizations that the writers of a claim may write for, by its key."""
    return key.split(_SEPARATOR)


def claimed(event: Mapping[str, Any], told: F, organizations: Collection[str]) -> Claims[F]:
    """Return an event's facts, `told`, as the claim of its writer, who may write for `organizations`."""
    key, names = writer_of(organizations, event["organization_id"])
    at = event["received_at"] if names and event["action"] != "delete" else None
    return {key: (at, told)}


def join(a: Claims[F], b: Claims[F], join_facts: Callable[[F, F], F]) -> Claims[F]:
    """Merge the claims of both; of too many keep those received first."""
    if not b or a == b:
        return a
    joined = dict(a)
    for key, (at, facts) in b.items():
        known = joined.get(key)
        joined[key] = (at, facts) if known is None else (earlier(known[0], at), join_facts(known[1], facts))
    if len(joined) > len(a):
        joined = dict(sorted(joined.items(), key=_rank)[:LIMIT])
    return joined


def _rank(item: tuple[str, Claim[F]]) -> tuple[bool, int, str]:
    key, (at, _) = item
    return at is None, at or 0, key


def earlier(a: int | None, b: int | None) -> int | None:
    """Return the smaller of two, or the only one."""
    if a is None or b is None:
        return b if a is None else a
    return min(a, b)


def first(claims: Mapping[str, Claim[F]]) -> tuple[int, str] | None:
    """Return when the first organization has claimed the id, and which one that is. None if none has."""
    return min(((at, key) for key, (at, _) in claims.items() if at is not None), default=None)


def owner(named: str | None, claims: Mapping[str, Claim[F]]) -> str | None:
    """Return the row's owner: the organization that trusted writers have `named`, or the first to claim the id."""
    if named is not None:
        return named
    claim = first(claims)
    return None if claim is None else claim[1]


def owned(claims: Claims[F], organization: str | None) -> Claims[F]:
    """Return the claims whose writers may write for an organization."""
    if organization is None:
        return {}
    return {key: claim for key, claim in claims.items() if organization in key.split(_SEPARATOR)}


def different(claims: Mapping[str, Claim[Any]]) -> list[str]:
    """Return one organization for each set of claims that count together: a token may be bound to hundreds of them."""
    keys: dict[str, list[str]] = {}
    for key in claims:
        for organization in organizations_of(key):
            keys.setdefault(organization, []).append(key)
    return list({tuple(sorted(owned)): organization for organization, owned in keys.items()}.values())


def of(claims: Claims[F], organization: str | None) -> Iterator[F]:
    """Yield the facts of writers that may write for an organization."""
    return (facts for _, facts in owned(claims, organization).values())


def join_facts(a: F, b: F, join_unclaimed: Callable[[F, F], F], strip: Callable[[F], F]) -> F:
    """Merge the facts of a row, including claims; of deleted ones only what `strip` leaves."""
    joined: Any = join_unclaimed(a, b)
    told = join(a.claims, b.claims, join_unclaimed)
    if not told:
        return cast("F", joined)
    if deletes := deleting(joined, told):
        joined = strip(structs.replace(joined, deletes=deletion.join_deletes(joined.deletes, deletes)))
    return cast("F", structs.replace(joined, claims=stripped(joined, told, strip)))


def deleting(trusted: F, claims: Mapping[str, Claim[F]]) -> list[str | None]:
    """Return the deletes in claims that apply to trusted writers' facts: these have named their organization."""
    return [
        name
        for _, facts in claims.values()
        for name in facts.deletes
        if name in trusted.organizations and name not in trusted.deletes
    ]


def stripped(trusted: F, claims: Claims[F], strip: Callable[[F], F]) -> Claims[F]:
    """Return the claims, of deleted ones only what `strip` leaves."""
    return {
        key: (at, strip(facts) if _is_gone(key, facts, trusted.deletes) else facts)
        for key, (at, facts) in claims.items()
    }


def _is_gone(key: str, facts: _Facts, deletes: list[str | None]) -> bool:
    return deletion.is_certain(facts.deletes, facts.organizations) or (
        bool(deletes) and (None in deletes or all(name in deletes for name in key.split(_SEPARATOR)))
    )
