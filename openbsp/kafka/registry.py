"""The schema registry: register at deploy, look up at run time.

Blocking; call from a thread where an event loop runs.
"""

import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self, TypeVar

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from avro.catalogue import TOPICS, Topic, subject
from avro.compatibility import COMPATIBILITY, differences
from avro.errors import SchemasError
from avro.schemas import Schema, latest, versions
from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings

_CLIENT_ERRORS = range(400, 500)
_NOT_FOUND = 404
#: These say nothing of what was asked: the same question may be answered later.
_NOT_NOW = frozenset({401, 403, 408, 429})
_HINTS = {
    401: "SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD must be those of a user of this registry",
    403: "give the user in SCHEMA_REGISTRY_USERNAME the right to do this",
    _NOT_FOUND: "run `bridge schemas register` once against this registry",
    408: "the registry is too slow; ask again later",
    429: "the registry is asked too often; ask again later, or raise its limits",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema version and the id that the registry gave it."""

    subject: str
    record: str
    version: int
    schema_id: int


class Registry:
    """The project's view of a Confluent-compatible registry.

    A context manager; `close`, or dropping the object, gives the connections back.
    """

    def __init__(self, settings: RegistrySettings, prefix: str) -> None:
        """Build the client; nothing is sent yet."""
        self._client = SchemaRegistryClient(settings.client_config())
        # Trap: the client is part of a reference cycle, so its sockets would stay open until some later collection.
        self._close = weakref.finalize(self, self._client.close)
        self._prefix = prefix
        self._url = settings.url

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Safe to repeat; nothing can be asked afterwards."""
        self._close()

    def register(self) -> list[Registered]:
        """Set each subject's compatibility and register all versions of all schemas, oldest first.

        Safe to repeat. Raises RegistryError with the registry's reason.
        """
        done = []
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            # First the rule, so that a subject that holds something else refuses even the first version.
            self._ask(f"setting the compatibility of {name}", self._client.set_compatibility, name, COMPATIBILITY)
            for schema in versions(record):
                schema_id = self._ask(
                    f"registering {record} under {name}", self._client.register_schema, name, _wire(schema)
                )
                done.append(Registered(name, record, schema.version, schema_id))
        return done

    def check(self) -> None:
        """Ask, without changing anything, whether `register` would be accepted.

        Raises SchemasError with a line for each subject whose rule is not the contract's and each version that the
        registry would refuse; RegistryError when it cannot be asked. A subject that does not exist yet has no faults.
        """
        faults = [
            fault for topic, record in _subjects() for fault in self._faults(subject(self._prefix, topic.name), record)
        ]
        if faults:
            raise SchemasError(faults)

    def ids(self) -> Mapping[str, int]:
        """Return the id of each record's newest version, by record name. Reads only.

        Raises RegistryError; `refused` means that a schema is not registered.
        """
        found = {}
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            doing = f"looking up {record} under {name}"
            answer = self._ask(doing, self._client.lookup_schema, name, _wire(latest(record)))
            if answer.schema_id is None:
                raise RegistryError(f"{self._url}: {doing}: no id in the answer", refused=True)
            found[record] = answer.schema_id
        return found

    def text(self, schema_id: int) -> str:
        """Return the schema text of an id. Raises RegistryError; `refused` means that there is no such id."""
        schema = self._ask(f"asking for schema id {schema_id}", self._client.get_schema, schema_id)
        if schema.schema_str is None:
            raise RegistryError(f"{self._url}: schema id {schema_id} has no text", refused=True)
        return str(schema.schema_str)

    def _faults(self, name: str, record: str) -> list[str]:
        doing = f"checking {record} under {name}"
        none: list[int] = []
        numbers = self._ask_for(f"{doing}: versions", none, self._client.get_versions, name)
        if not numbers:
            return []
        level = self._ask_for(f"{doing}: compatibility", "not set", self._client.get_compatibility, name)
        faults = [] if level == COMPATIBILITY else [f"{name}: compatibility is {level}, the contract: {COMPATIBILITY}"]
        for schema in versions(record):
            if self._ask(
                f"{doing}: v{schema.version}", self._client.test_compatibility_all_versions, name, _wire(schema)
            ):
                continue
            reasons = [
                reason for number in numbers for reason in differences(self._registered(doing, name, number), schema)
            ]
            faults.append(f"{name}: the registry refuses {record}.v{schema.version}: {'; '.join(reasons)}")
        return faults

    def _registered(self, doing: str, name: str, number: int) -> Schema:
        answer = self._ask(f"{doing}: version {number}", self._client.get_version, name, number)
        return Schema(f"the registry's {name}", number, str(answer.schema and answer.schema.schema_str))

    def _ask_for(self, doing: str, absent: _T, question: Callable[..., _T], *arguments: object) -> _T:
        try:
            return self._ask(doing, question, *arguments)
        except RegistryError as error:
            if error.absent:
                return absent
            raise

    def _ask(self, doing: str, question: Callable[..., _T], *arguments: object) -> _T:
        try:
            return question(*arguments)
        except SchemaRegistryError as error:
            status = error.http_status_code
            hint = f" ({_HINTS[status]})" if status in _HINTS else ""
            raise RegistryError(
                f"{self._url}: {doing}: {error.error_message}{hint}",
                refused=status in _CLIENT_ERRORS and status not in _NOT_NOW,
                absent=status == _NOT_FOUND,
            ) from error
        except Exception as error:  # the client lets errors of its HTTP library through
            raise RegistryError(f"{self._url}: {doing}: {type(error).__name__}: {error}", refused=False) from error


def _wire(schema: Schema) -> RegistrySchema:
    return RegistrySchema(schema.text, "AVRO")


def _subjects() -> list[tuple[Topic, str]]:
    return [(topic, topic.schema) for topic in TOPICS.values() if topic.schema is not None]
