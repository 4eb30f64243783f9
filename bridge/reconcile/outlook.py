"""The organizations that an OpenBSP shows, and a known row of each.

Row-level security answers a revoked key with empty lists. So nothing counts as gone, and nothing as complete, before
the platform has shown a row of the organization that the states have as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.reconcile import names
from bridge.reconcile.index import Index
from bridge.reconcile.source import Source

_AT_ONCE = 100
_NEWEST = 20


@dataclass(slots=True)
class Outlook:
    """Of one entity: `shown` are organizations with rows, `witnesses` has the name of a row that both sides have."""

    witnesses: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)


def look(source: Source, index: Index, entity: str, organizations: Iterable[str]) -> Outlook:
    """Ask for some rows of each organization in the states. Raises PlatformError."""
    outlook = Outlook()
    left = {
        organization: [name for name in index.witnesses(entity, organization) if names.is_name(entity, name)]
        for organization in organizations
    }
    while asked := {known.pop(0): whose for whose, known in left.items() if known and whose not in outlook.witnesses}:
        for some in _chunks(list(asked)):
            for name in source.present(entity, some):
                outlook.witnesses[asked[name]] = name
    outlook.shown.update(outlook.witnesses)
    for organization in left.keys() - outlook.shown:
        newest = {names.id_in(entity, name): name for name in source.newest(entity, organization, _NEWEST)}
        if newest:
            outlook.shown.add(organization)
        if both := [newest[id_] for id_ in index.facts(entity, list(newest))]:
            outlook.witnesses[organization] = both[0]
    return outlook


def _chunks(asked: list[str]) -> Iterable[list[str]]:
    return (asked[at : at + _AT_ONCE] for at in range(0, len(asked), _AT_ONCE))
