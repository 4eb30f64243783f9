"""The schema registry: register at deploy, look up at run time.

Blocking; call from a thread where an event loop runs.
"""

import json
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
from avro.schemas import Schema, latest, versions, without
from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings

_CLIENT_ERRORS = range(400, 500)
_NOT_FOUND = 404
#: Errors that are no answer to the question: it may be retried.
_NOT_NOW = frozenset({401, 403, 408, 429})
_NO_SUBJECT = 40401
_NO_VERSION = 40402
_NO_SCHEMA = 40403
_NO_SUBJECT_RULE = 40408
#: Codes with which a registry, as opposed to a proxy before it or a wrong path, says that it does not have something.
_ABSENT = frozenset({_NO_SUBJECT, _NO_VERSION, _NO_SCHEMA, _NO_SUBJECT_RULE})
#: Ids travel in four bytes, and every client reads them as a signed number.
_LARGEST_ID = 2**31 - 1
_LOOKED_UP = frozenset({_NO_SUBJECT, _NO_SCHEMA})
_BY_ID = frozenset({_NO_SCHEMA})
#: Parts of a request, each of which may take the setting's time: connecting, sending, receiving.
_PARTS = 3
#: What looking a name up and everything else may take besides.
_PATIENCE_S = 60.0
_REGISTER = "run `bridge schemas register` once against this registry"
_WRONG_ADDRESS = "this is not a schema registry; SCHEMA_REGISTRY_URL must be the address of its Confluent API"
_HINTS = {
    401: "SCHEMA_REGISTRY_USERNAME and SCHEMA_REGISTRY_PASSWORD must be those of a user of this registry",
    403: "give the user in SCHEMA_REGISTRY_USERNAME the right to do this",
    408: "the registry is too slow; ask again later",
    429: "the registry is asked too often; ask again later, or raise its limits",
}

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Registered:
    """A schema version and its id in the registry."""

    subject: str
    record: str
    version: int
    schema_id: int


class Registry:
    """The project's view of a Confluent-compatible registry.

    A context manager; `close`, or dropping the object, closes the connections.
    """

    def __init__(self, settings: RegistrySettings, prefix: str) -> None:
        """Build the client; nothing is sent yet."""
        self._client = SchemaRegistryClient(settings.client_config())
        # Trap: the client is part of a reference cycle, so its sockets would stay open until a later collection.
        self._close = weakref.finalize(self, self._client.close)
        self._prefix = prefix
        self._url = settings.url
        requests = 2 * len(_subjects()) * len(settings.url.split(","))
        #: Seconds after which `ids` and `mismatched` have returned or raised, unless the client has a fault.
        self.patience_s = _PATIENCE_S + requests * _PARTS * settings.timeout_s

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections. Safe to repeat; no request is possible afterwards."""
        self._close()

    def register(self) -> list[Registered]:
        """Set each subject's compatibility and register all versions of all schemas, oldest first.

        Safe to repeat. Raises RegistryError with the registry's reason.
        """
        done = []
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            # First the rule, so that a subject with foreign schemas refuses even the first version.
            self._ask(f"setting the compatibility of {name}", self._client.set_compatibility, name, COMPATIBILITY)
            for schema in versions(record):
                schema_id = self._ask(
                    f"registering {record} under {name}", self._client.register_schema, name, _wire(schema)
                )
                done.append(Registered(name, record, schema.version, schema_id))
        return done

    def check(self) -> None:
        """Check, without changing anything, whether `register` would be accepted.

        Raises SchemasError with a line for each subject with another rule than the contract's and each version that the
        registry would refuse; RegistryError when it is unavailable. A subject that does not exist yet has no faults.
        """
        faults = [
            fault for topic, record in _subjects() for fault in self._faults(subject(self._prefix, topic.name), record)
        ]
        if faults:
            raise SchemasError(faults)

    def ids(self) -> Mapping[str, int]:
        """Return the id of each record's newest version, by record name. Reads only; never from a cache.

        Raises RegistryError; `absent` means that a schema is not registered. An id that no client could read, or under
        which the registry itself has another schema, is a fault of the registry.
        """
        # Trap: the client caches answers without limit, and a registry may have lost its data.
        self._client.clear_caches()  # type: ignore[no-untyped-call]
        found: dict[str, int] = {}
        for topic, record in _subjects():
            name = subject(self._prefix, topic.name)
            doing = f"looking up {record} under {name}"
            answer = self._ask(doing, self._client.lookup_schema, name, _wire(latest(record)), known_as=_LOOKED_UP)
            found[record] = self._usable(doing, answer.schema_id)
        if mismatched := self._mismatched(found):
            raise RegistryError(f"{self._url}: the registry contradicts itself: {'; '.join(mismatched)}", refused=False)
        return found

    def mismatched(self, ids: Mapping[str, int]) -> list[str]:
        """Return a line for each record under whose id the registry has another schema, or none. Never from a cache.

        Raises RegistryError when it is unavailable.
        """
        self._client.clear_caches()  # type: ignore[no-untyped-call]
        return self._mismatched(ids)

    def text(self, schema_id: int) -> str:
        """Return the schema text of an id. Raises RegistryError; `absent` means that there is no such id."""
        doing = f"asking for schema id {schema_id}"
        schema = self._ask(doing, self._client.get_schema, schema_id, known_as=_BY_ID)
        if not isinstance(schema.schema_str, str):
            raise RegistryError(f"{self._url}: {doing}: no text in the answer", refused=False)
        return schema.schema_str

    def _mismatched(self, ids: Mapping[str, int]) -> list[str]:
        found = []
        for record, schema_id in ids.items():
            try:
                text = self.text(schema_id)
            except RegistryError as error:
                if not error.absent:
                    raise
                found.append(f"id {schema_id} of {record} is not registered")
            else:
                if not _same(text, latest(record).text):
                    found.append(f"id {schema_id} of {record} is another schema, {_name(text)}")
        return found

    def _usable(self, doing: str, schema_id: object) -> int:
        if isinstance(schema_id, bool) or not isinstance(schema_id, int) or not 0 <= schema_id <= _LARGEST_ID:
            raise RegistryError(
                f"{self._url}: {doing}: the answer has no usable id, but {schema_id!r:.40}; {_WRONG_ADDRESS}",
                refused=False,
            )
        return schema_id

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

    def _ask(
        self, doing: str, question: Callable[..., _T], *arguments: object, known_as: frozenset[int] = _ABSENT
    ) -> _T:
        """Send a request. `known_as` are the codes for a missing object."""
        try:
            return question(*arguments)
        except SchemaRegistryError as error:
            status, code = error.http_status_code, error.error_code
            absent = status == _NOT_FOUND and code in known_as
            answered = absent if status == _NOT_FOUND else isinstance(code, int) and code > 0
            refused = answered and status in _CLIENT_ERRORS and status not in _NOT_NOW
            raise RegistryError(
                f"{self._url}: {doing}: {error.error_message!s:.300}{_hint(status, absent=absent)}",
                refused=refused,
                absent=absent,
            ) from error
        except Exception as error:  # the client lets errors of its HTTP library through
            raise RegistryError(f"{self._url}: {doing}: {type(error).__name__}: {error}", refused=False) from error


def _hint(status: int, *, absent: bool) -> str:
    if status == _NOT_FOUND:
        return f" ({_REGISTER if absent else _WRONG_ADDRESS})"
    return f" ({_HINTS[status]})" if status in _HINTS else ""


def _same(one: str, other: str) -> bool:
    return _meaning(one) == _meaning(other)


def _meaning(text: str) -> object:
    """Return a schema's meaning, without its comments: some registries do not keep them."""
    try:
        return without(json.loads(text), "doc")
    except ValueError:
        return text


def _name(text: str) -> str:
    """Return the name of another team's schema."""
    read = _meaning(text)
    if isinstance(read, dict) and "name" in read:
        return ".".join(str(read[key]) for key in ("namespace", "name") if key in read)
    return f"{text:.40}"


def _wire(schema: Schema) -> RegistrySchema:
    return RegistrySchema(schema.text, "AVRO")


def _subjects() -> list[tuple[Topic, str]]:
    return [(topic, topic.schema) for topic in TOPICS.values() if topic.schema is not None]
