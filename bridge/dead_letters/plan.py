"""What can be redriven: the webhook to send for a dead letter, or why there is none."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from avro import jsontext
from avro.catalogue import topic_name
from avro.codec import CodecError
from avro.columns import ENTITIES
from avro.dead_letters import REDRIVEN_HTTP_HEADER
from avro.rows import to_row
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.reasons import explain
from bridge.delivery.items import Event
from bridge.http.events import RefusedError, read_event
from bridge.http.webhook import RECONCILED_HEADER
from openbsp.kafka.position import Position

#: An event that became a dead letter again after so many attempts is no longer redriven.
MOST_REDRIVES = 3

#: Decodes a value of an entity's topic. Raises CodecError.
Decode = Callable[[bytes], Mapping[str, object]]


class NotRedrivableError(Exception):
    """Why a dead letter cannot be redriven, for people."""


@dataclass(frozen=True, slots=True)
class Redrive:
    """A webhook to send: its body, its event, and the number of the attempt."""

    body: bytes
    event: Event
    attempt: int
    #: Whether a repair had read the row from the sender's database.
    reconciled: bool = False

    def headers(self) -> dict[str, str]:
        """Return the headers to send with it."""
        headers = {REDRIVEN_HTTP_HEADER: str(self.attempt)}
        return headers | {RECONCILED_HEADER: "true"} if self.reconciled else headers


class Planner:
    """Decides for each dead letter."""

    def __init__(
        self,
        prefix: str,
        decoders: Mapping[str, Decode],
        redriven_at: Callable[[Position], int],
        *,
        max_depth: int,
    ) -> None:
        """Set the decoders by entity. `redriven_at` returns how often the event of a record has been redriven."""
        self._decoders = decoders
        self._redriven_at = redriven_at
        self._entities = {topic_name(prefix, entity.topic): entity for entity in ENTITIES.values()}
        self._max_depth = max_depth

    def plan(self, letter: Letter) -> Redrive:
        """Return what to send for a dead letter. The same one gives the same event, with the same id.

        Raises NotRedrivableError, RegistryError.
        """
        found = self._unguarded(letter)
        if found.attempt > MOST_REDRIVES:
            raise NotRedrivableError(f"redriven {found.attempt - 1} times already, and refused each time")
        return found

    def last_of_each(self, letters: Iterable[Letter]) -> set[Position]:
        """Return the position of each event's most often redriven dead letter, of several the last.

        Only an event's latest dead letter has the count of all redrives. So it stands for all of the event's: redriven
        one by one, each of them would become one more, with every run. Raises RegistryError.
        """
        last: dict[tuple[object, ...], tuple[int, int, Position]] = {}
        for letter in letters:
            try:
                found = self._unguarded(letter)
            except NotRedrivableError:
                continue
            # Trap: the same event with another sender's limits is a different one.
            event = found.event.event_id, found.reconciled, letter.organizations
            place = found.attempt, letter.received_at, letter.position
            last[event] = max(last.get(event, place), place)
        return {position for _, _, position in last.values()}

    def _unguarded(self, letter: Letter) -> Redrive:
        explanation = explain(letter.origin, letter.reason)
        if explanation.hopeless is not None:
            raise NotRedrivableError(explanation.hopeless)
        if letter.payload is None:
            kept = "nothing of it was kept" if not letter.size else f"its {letter.size} bytes were not kept"
            raise NotRedrivableError(kept)
        body, reconciled = letter.payload, False
        if letter.origin != "webhook":
            body, reconciled = self._body(letter, letter.payload)
        try:
            event = read_event(body, letter.received_at, None, self._max_depth)
        except RefusedError as refusal:
            raise NotRedrivableError(f"the bridge would refuse it again: {refusal.detail}") from None
        # The record that the worker refused has the count; the dead letter that it made has not.
        redriven = letter.redriven if letter.source is None else self._redriven_at(letter.source)
        return Redrive(body, event, redriven + 1, reconciled)

    def _body(self, letter: Letter, payload: bytes) -> tuple[bytes, bool]:
        """Return the body of the webhook behind a record of an entity's topic, or an equivalent one.

        Instants are in UTC in it, whatever their offset was. Also return whether a repair had made the event.
        """
        entity = self._entities.get(letter.fields["topic"])
        if entity is None:
            raise NotRedrivableError(
                f"{letter.fields['topic']} is internal: its records are made again with the next event of the message"
            )
        try:
            fields = dict(self._decoders[entity.name](payload))
            row = to_row(entity, fields)
        except CodecError as error:
            raise NotRedrivableError(f"its record still cannot be read: {error}") from None
        except OverflowError:
            raise NotRedrivableError("it has an instant outside the years 1 to 9999") from None
        body = jsontext.encode({"entity": entity.name, "action": fields["action"], "data": row})
        return body, bool(fields.get("reconciled"))
