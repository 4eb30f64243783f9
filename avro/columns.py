"""The tables of OpenBSP whose rows may pass, each with its columns, as data. What is not listed here does not exist.

A new column: `make column`, which docs/howto/column.md explains.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Kind(Enum):
    """The Avro type of a column."""

    TEXT = "string"
    INSTANT = "timestamp-micros"
    JSON = "JSON text"
    STATUS = "map of timestamp-micros, with errors and oddities beside it"


@dataclass(frozen=True, slots=True)
class Entity:
    """A table of OpenBSP whose rows may pass. Columns without a typed field are JSON text in `extra`.

    `identity` are the columns that identify a row which has no `id`, its organization first: its id is made from them
    (`avro.rows.id_of`). `state` is the topic of its rows' states, if they have one.
    """

    name: str
    topic: str
    columns: Mapping[str, Kind]
    identity: tuple[str, ...] = ()
    state: str | None = None


def _columns(text: str, instants: str, **others: Kind) -> Mapping[str, Kind]:
    columns = dict.fromkeys(text.split(), Kind.TEXT) | dict.fromkeys(instants.split(), Kind.INSTANT) | others
    return MappingProxyType(columns)


ENTITIES: Mapping[str, Entity] = MappingProxyType(
    {
        "messages": Entity(
            "messages",
            "messages",
            _columns(
                "id organization_id conversation_id external_id direction agent_id contact_address service"
                " organization_address group_address thread_id",
                "timestamp created_at updated_at",
                content=Kind.JSON,
                status=Kind.STATUS,
            ),
            state="message-state",
        ),
        "conversations": Entity(
            "conversations",
            "conversations",
            _columns(
                "id organization_id service organization_address contact_address group_address name status",
                "created_at updated_at",
            ),
            state="conversation-state",
        ),
        "contacts": Entity("contacts", "contacts", _columns("id organization_id name status", "created_at updated_at")),
        "contacts_addresses": Entity(
            "contacts_addresses",
            "contacts-addresses",
            _columns("organization_id service address contact_id status", "created_at updated_at"),
            identity=("organization_id", "service", "address"),
        ),
    }
)

#: The columns that are published of a deleted row.
IDS = frozenset({"id", "organization_id", "conversation_id", "external_id"})
