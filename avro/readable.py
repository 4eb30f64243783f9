"""Whether schema files and their examples can be read at all: the first check, with a sentence for each file.

All other checks assume that schemas are Avro, and that each version has examples that match it.
"""

import json
from importlib.resources import files
from importlib.resources.abc import Traversable

import fastavro

from avro import examples
from avro.schemas import FILE, Schema


def faults(schemas: Traversable | None = None, shown: Traversable | None = None) -> list[str]:
    """Return a line for each file that is missing or invalid; by default of those installed."""
    schemas, shown = schemas or files("avro.schemas"), shown or files("avro.examples")
    found = []
    for resource in sorted(schemas.iterdir(), key=lambda resource: resource.name):
        if resource.name.endswith(".avsc"):
            found += _of_schema(resource, shown)
    return found


def _of_schema(resource: Traversable, shown: Traversable) -> list[str]:
    name = FILE.fullmatch(resource.name)
    if name is None:
        return [f"{resource.name}: is not called <Record>.v<N>.avsc"]
    try:
        text = resource.read_text("utf-8")
        read = json.loads(text)
    except ValueError as error:
        return [f"{resource.name}: no JSON: {error}"]
    if not isinstance(read, dict) or read.get("type") != "record" or read.get("name") != name["record"]:
        return [f"{resource.name}: must be a record with the name {name['record']}"]
    schema = Schema(name["record"], int(name["version"]), text)
    try:
        schema.parsed()
    except fastavro.schema.UnknownType as error:
        return [f"{resource.name}: there is no type {error.name}"]
    except (fastavro.schema.SchemaParseException, KeyError, TypeError, ValueError) as error:
        return [f"{resource.name}: no Avro schema: {type(error).__name__}: {error}"]
    return _of_examples(schema, shown)


def _of_examples(schema: Schema, directory: Traversable) -> list[str]:
    file = f"{schema.record}.v{schema.version}.json"
    try:
        shown = examples.load(schema, directory)
    except FileNotFoundError:
        return [f"{file}: each version of a schema needs examples: add it to avro/examples"]
    except ValueError as error:
        return [f"{file}: no JSON: {error}"]
    except (KeyError, TypeError) as error:
        return [f"{file}: needs `accepted` and `rejected`, lists of objects with title, value and why: {error}"]
    return [
        f"{file}: the example {example.title!r} is {'not ' if accepted else ''}a value of the schema"
        for accepted, group in ((True, shown.accepted), (False, shown.rejected))
        for example in group
        if examples.fits(schema, example.value) is not accepted
    ]
