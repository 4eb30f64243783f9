"""The schema registry: register at deploy, look up at run time.

Blocking; call from a thread where an event loop runs.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from confluent_kafka.schema_registry import Schema as RegistrySchema
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from avro.catalogue import TOPICS, Topic, subject
from avro.connection import RegistrySettings
from avro.errors import RegistryError
from avro.schemas import latest, versions

COMPATIBILITY = "FULL_TRANSITIVE"

_NOT_FOUND = 404
_SERVER_ERROR = 500


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema version and the id that the registry gave it."""

    subject: str
    record: str
    version: int
    schema_id: int


class Registry:
    """The project's view of a Confluent-compatible registry."""

    def __init__(self, settings: RegistrySettings, prefix: str) -> None:
        """Build the client; nothing is sent yet."""
        self._client = SchemaRegistryClient(settings.client_config())
        self._prefix = prefix
        self._url = settings.url

    def register(self) -> list[Registered]:
        """Register all versions of all schemas, oldest first, and set each subject's compatibility.

        Safe to repeat. Raises RegistryError with the registry's reason.
        """
        done = []
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            try:
                for schema in versions(record):
                    schema_id = self._client.register_schema(name, RegistrySchema(schema.text, "AVRO"))
                    if schema.version == 1:
                        # Trap: a subject's rule cannot be set in Apicurio before the subject exists.
                        self._client.set_compatibility(subject_name=name, level=COMPATIBILITY)
                    done.append(Registered(name, record, schema.version, schema_id))
            except Exception as error:  # noqa: BLE001 the client lets errors of its HTTP library through
                self._fail(f"registering {record} under {name}", error)
        return done

    def ids(self) -> Mapping[str, int]:
        """Return the id of each record's newest version, by record name. Reads only.

        Raises RegistryError; `refused` means that a schema is not registered.
        """
        found = {}
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            try:
                answer = self._client.lookup_schema(name, RegistrySchema(latest(record).text, "AVRO"))
            except Exception as error:  # noqa: BLE001 as above
                self._fail(f"looking up {record} under {name}", error)
            if answer.schema_id is None:
                raise RegistryError(f"{self._url}: looking up {record} under {name}: no id in the answer", refused=True)
            found[record] = answer.schema_id
        return found

    def text(self, schema_id: int) -> str:
        """Return the schema text of an id. Raises RegistryError; `refused` means that there is no such id."""
        try:
            schema = self._client.get_schema(schema_id)
        except Exception as error:  # noqa: BLE001 as above
            self._fail(f"asking for schema id {schema_id}", error)
        if schema.schema_str is None:
            raise RegistryError(f"{self._url}: schema id {schema_id} has no text", refused=True)
        return str(schema.schema_str)

    def _fail(self, doing: str, error: Exception) -> NoReturn:
        if isinstance(error, SchemaRegistryError):
            refused = error.http_status_code < _SERVER_ERROR
            hint = ""
            if error.http_status_code == _NOT_FOUND:
                hint = " (run `bridge schemas register` once against this registry)"
            raise RegistryError(f"{self._url}: {doing}: {error.error_message}{hint}", refused=refused) from error
        raise RegistryError(f"{self._url}: {doing}: {type(error).__name__}: {error}", refused=False) from error


def _subjects() -> list[tuple[Topic, str]]:
    return [(topic, topic.schema) for topic in TOPICS.values() if topic.schema is not None]
