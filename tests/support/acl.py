"""The table of rights in docs/operations.md, as it stands, and as bindings of a broker."""

import re
from collections.abc import Collection, Mapping
from pathlib import Path

from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

_PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_ROW = re.compile(r"^\| (deploy|bridge|streams|move) \| (topic|group) \| `([^`]+)` \| ([A-Za-z, ]+) \|$", re.MULTILINE)


def documented_rights(prefix: str, group: str) -> list[AclBinding]:
    """Return the documented rights of the users deploy, bridge and streams, for other names of topics and group."""
    return _bindings({"deploy", "bridge", "streams"}, {"openbsp.": prefix, "openbsp-streams": group})


def documented_rights_to_move(prefix: str, group: str, new_prefix: str, new_group: str) -> list[AclBinding]:
    """Return the documented rights of the user move, who copies from topics of one prefix to those of another."""
    names = {"openbsp48.": new_prefix, "openbsp-streams-48": new_group, "openbsp.": prefix, "openbsp-streams": group}
    return _bindings({"move"}, names)


def _bindings(principals: Collection[str], names: Mapping[str, str]) -> list[AclBinding]:
    """Return the rights of the page's table; `names` has what is in place of how its names begin."""
    bindings = []
    for principal, resource, name, operations in _ROW.findall(_PAGE.read_text("utf-8")):
        if principal not in principals:
            continue
        start = next(start for start in names if name.startswith(start))
        full = names[start] + name.removeprefix(start).rstrip("*")
        pattern = ResourcePatternType.PREFIXED if name.endswith("*") else ResourcePatternType.LITERAL
        for operation in operations.split(", "):
            name_of_operation = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", operation).upper()
            bindings.append(
                AclBinding(
                    ResourceType[resource.upper()],
                    full,
                    pattern,
                    f"User:{principal}",
                    "*",
                    AclOperation[name_of_operation],
                    AclPermissionType.ALLOW,
                )
            )
    return bindings
