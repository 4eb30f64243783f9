"""Which organizations an OpenBSP shows, and a row of each that it is known to have.

Row-level security answers a revoked key with empty lists. So nothing is taken as gone, and nothing as complete, before
the platform has shown a row of the organization that the states have as well.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from bridge.reconcile.index import Index
from bridge.reconcile.source import Source

_AT_ONCE = 100
_NEWEST = 20


@dataclass(slots=True)
class Outlook:
    """Of one entity: `shown` are organizations with rows, `witnesses` has an id that both sides have for each."""

    witnesses: dict[str, str] = field(default_factory=dict)
    shown: set[str] = field(default_factory=set)


def look(source: Source, index: Index, entity: str, organizations: Iterable[str]) -> Outlook:
    """Ask for some rows of each organization that the states have. Raises PlatformError."""
    outlook = Outlook()
    left = {name: index.witnesses(entity, name) for name in organizations}
    while asked := {ids.pop(0): name for name, ids in left.items() if ids and name not in outlook.witnesses}:
        for some in _chunks(list(asked)):
            for id_ in source.present(entity, some):
                outlook.witnesses[asked[id_]] = id_
    outlook.shown.update(outlook.witnesses)
    for name in left.keys() - outlook.shown:
        newest = source.newest(entity, name, _NEWEST)
        if newest:
            outlook.shown.add(name)
        if known := [id_ for id_ in newest if id_ in index.facts(entity, newest)]:
            outlook.witnesses[name] = known[0]
    return outlook


def _chunks(ids: list[str]) -> Iterable[list[str]]:
    return (ids[at : at + _AT_ONCE] for at in range(0, len(ids), _AT_ONCE))
