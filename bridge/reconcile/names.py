"""What a row is asked for by: its id, or for a table without one, the identifying columns as a JSON array.

The id made for such a row contains a hash of those, so it cannot be asked for.
"""

from avro.columns import ENTITIES
from avro.jsontext import decode, encode_text
from avro.rows import Row, id_of, made_id

#: The table whose rows have no id: a conversation's contact address is asked for by its columns.
ADDRESSES = "contacts_addresses"


def columns_of(entity: str) -> tuple[str, ...]:
    """Return the columns that identify a row in its table."""
    return ENTITIES[entity].identity or ("id",)


def name_of(entity: str, row: Row) -> str | None:
    """Return the name of a row, None if a column that identifies it is missing, empty or no text."""
    if id_of(ENTITIES[entity], row) is None:
        return None
    parts = [row[column] for column in columns_of(entity)]
    return encode_text(parts) if ENTITIES[entity].identity else str(parts[0])


def parts_of(entity: str, name: str) -> list[str]:
    """Return the values of the columns in a name."""
    return [str(part) for part in decode(name.encode())] if ENTITIES[entity].identity else [name]


def id_in(entity: str, name: str) -> str:
    """Return the id of the row that has a name."""
    return made_id(*parts_of(entity, name)) if ENTITIES[entity].identity else name


def is_name(entity: str, text: str) -> bool:
    """Return whether a text can be asked for: it is no id that was made."""
    return not ENTITIES[entity].identity or text.endswith("]")
