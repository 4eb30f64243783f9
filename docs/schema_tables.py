"""Schemas and their values as the pages show them."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from avro.catalogue import DAY_MS, Topic


def kept(topic: Topic) -> str:
    """Return in words how long records stay."""
    return "the newest record of each key" if topic.retention_ms is None else f"{topic.retention_ms // DAY_MS} days"


def field_rows(schema: Any, remarks: Mapping[str, str], path: str = "") -> Iterator[tuple[str, str, str]]:
    """Yield name, type and meaning of each field, those of inner records behind their own; `remarks` come last."""
    for field in schema["fields"]:
        name = path + field["name"]
        yield name, _type(field["type"]), " ".join(filter(None, [field["doc"], remarks.get(name)]))
        for branch in field["type"] if isinstance(field["type"], list) else [field["type"]]:
            if isinstance(branch, dict) and branch["type"] == "record":
                yield from field_rows(branch, remarks, f"{name}.")


def filled(schema: Any, value: dict[str, Any]) -> str:
    """Return a value as JSON, with the defaults of absent fields, in the schema's order."""
    whole = {field["name"]: value.get(field["name"], field.get("default")) for field in schema["fields"]}
    return json.dumps(whole, indent=2, ensure_ascii=False)


def _type(schema: Any) -> str:
    if isinstance(schema, list):
        return " or ".join(_type(branch) for branch in schema if branch != "null") + ", or null"
    if isinstance(schema, str):
        return schema
    match schema["type"]:
        case "map":
            return f"map of {_type(schema['values'])}"
        case "array":
            return f"array of {_type(schema['items'])}"
        case "record":
            return f"record {schema['name']}"
    return str(schema.get("logicalType", schema["type"]))
