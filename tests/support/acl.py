"""The table of rights in docs/operations.md, as it stands, and as bindings of a broker."""

import re
from pathlib import Path

from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

_PAGE = Path(__file__).parents[2] / "docs" / "operations.md"
_ROW = re.compile(r"^\| (deploy|bridge|streams) \| (topic|group) \| `([^`]+)` \| ([A-Za-z, ]+) \|$", re.MULTILINE)


def documented_rights(prefix: str, group: str) -> list[AclBinding]:
    """Return the documented rights of the users deploy, bridge and streams, for other names of topics and group."""
    bindings = []
    for principal, resource, name, operations in _ROW.findall(_PAGE.read_text("utf-8")):
        full = group if resource == "group" else prefix + name.removeprefix("openbsp.").rstrip("*")
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
