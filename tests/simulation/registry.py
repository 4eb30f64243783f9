"""A simulated schema registry. It can be away."""

from collections.abc import Mapping

from avro.catalogue import TOPICS
from avro.schemas import versions
from openbsp.errors import RegistryError


class SimulatedRegistry:
    """See openbsp.kafka.registry.Registry: what a worker asks of it."""

    def __init__(self, known: Mapping[str, int] | None = None) -> None:
        """Have all schemas; `known` are the ids of each record's newest version, if they are to be those."""
        self.available = True
        self.known = dict(known or {})
        self._texts: dict[int, str] = {}
        for record in sorted({topic.schema for topic in TOPICS.values() if topic.schema is not None}):
            *older, newest = versions(record)
            if record in self.known:
                self._texts[self.known[record]] = newest.text
            else:
                self.known[record] = self.register(newest.text)
            for schema in older:
                self.register(schema.text)

    def register(self, text: str) -> int:
        """Take a schema in, under an id of its own."""
        schema_id = max([*self._texts, *self.known.values()], default=0) + 1
        self._texts[schema_id] = text
        return schema_id

    def ids(self) -> Mapping[str, int]:
        """Return the id of each record's newest version."""
        self._ask()
        return dict(self.known)

    def text(self, schema_id: int) -> str:
        """Return the schema text of an id."""
        self._ask()
        if schema_id not in self._texts:
            raise RegistryError(f"schema id {schema_id}: not found", refused=True, absent=True)
        return self._texts[schema_id]

    def close(self) -> None:
        """Nothing is held."""

    def _ask(self) -> None:
        if not self.available:
            raise RegistryError("the registry does not answer", refused=False)
