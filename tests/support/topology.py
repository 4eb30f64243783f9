"""The join without Kafka and Faust: message table -> contributions by conversation -> conversation table.

Everything that is stored or sent goes through its bytes, as in the worker.
"""

from collections import defaultdict
from typing import Any

from avro import rows
from avro.catalogue import ENTITIES
from avro.codec import Decoder, encoder
from avro.schemas import latest
from streams.state import contribution as contributions
from streams.state import conversation, message
from streams.state.conversation import Tally
from streams.state.status_change import status_change
from support.version_one import as_version_one

Fields = dict[str, Any]


class Wire:
    """Writes and reads a record's values, so that what is compared is what a consumer gets."""

    def __init__(self, record: str) -> None:
        self.encode = encoder(record, 1)
        decoder = Decoder(record)
        decoder.learn(1, latest(record).text)
        self.decode = decoder.decode

    def __call__(self, fields: Fields) -> Fields:
        return self.decode(self.encode(fields))


class FirstVersion(Wire):
    """The same for a consumer that knows version 1 of the record only."""

    def __init__(self, record: str) -> None:
        super().__init__(record)
        self._record = record

    def __call__(self, fields: Fields) -> Fields:
        return as_version_one(self._record, super().__call__(fields))


_events = {"messages": Wire("MessageEvent"), "conversations": Wire("ConversationEvent")}
message_state, conversation_state = FirstVersion("MessageState"), FirstVersion("ConversationState")
change = FirstVersion("StatusChange")


def event_of(envelope: Fields) -> Fields:
    """Return the event of a webhook's body, as the streams get it from the decoder."""
    entity = envelope["entity"]
    fields = rows.to_fields(ENTITIES[entity], envelope["data"])
    return _events[entity]({"event_id": "e", "action": envelope["action"], "received_at": 0, **fields})


class Topology:
    """Both tables, the topic between them, and the last record per key of the topics that they write."""

    def __init__(self) -> None:
        self.messages: dict[str, bytes] = {}
        self.rows: dict[str, bytes] = {}
        self.contributions: dict[str, dict[str, bytes]] = defaultdict(dict)
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        #: The topic between the tables, and how far it has been read.
        self.between: list[tuple[str, str, bytes, list[str]]] = []
        self.read = 0
        self.message_states: dict[str, Fields] = {}
        self.conversation_states: dict[str, Fields] = {}
        self.status_changes: dict[str, Fields] = {}
        #: For each status change, how far `between` had been read when it was first written.
        self._told_at: dict[str, int] = {}

    def receive(self, batch: list[Fields], *, replayed: bool = False) -> None:
        """Process webhooks as one batch: folded per key, each key written once."""
        changed: dict[str, message.MessageFacts] = {}
        announced: dict[str, set[str]] = defaultdict(set)
        for envelope in batch:
            key = envelope["data"]["id"]
            event = event_of(envelope)
            if envelope["entity"] == "conversations":
                new_row, stored_row = conversation.facts_of(event), self.rows.get(key)
                row = new_row if stored_row is None else conversation.join(conversation.decode(stored_row), new_row)
                self.rows[key] = conversation.encode(row)
                self._write(key)
                continue
            new, stored = message.facts_of(event), self.messages.get(key)
            known = changed.get(key) or (None if stored is None else message.decode(stored))
            changed[key] = merged = new if known is None else message.join(known, new)
            if replayed or known is None or message.conversation_of(known) is None:
                announced[key] |= merged.status.keys()
            else:
                announced[key] |= merged.status.keys() - known.status.keys()
        for key, facts in changed.items():
            self.messages[key] = message.encode(facts)
            self.message_states[key] = message_state(message.state(key, facts))
            part = contributions.encode(message.contribution(facts))
            current = message.conversation_of(facts)
            self.between += [
                (name, key, part, sorted(announced[key]) if name == current else []) for name in facts.conversations
            ]

    def relay(self, count: int | None = None) -> None:
        """Process up to `count` records of the topic between the tables."""
        end = len(self.between) if count is None else min(self.read + count, len(self.between))
        for position, (conversation_id, message_id, part, announced) in enumerate(
            self.between[self.read : end], self.read
        ):
            stored = self.contributions[conversation_id].get(message_id)
            old = None if stored is None else contributions.decode(stored)
            new = contributions.decode(part)
            merged = new if old is None else contributions.join(old, new)
            self.contributions[conversation_id][message_id] = contributions.encode(merged)
            self.tallies[conversation_id].replace(conversation_id, message_id, old, merged)
            summary = conversation.summary(self._row(conversation_id))
            for status in announced:
                fields = status_change(message_id, conversation_id, merged, status, summary)
                self.status_changes[fields["id"]] = change(fields)
                self._told_at.setdefault(fields["id"], position)
            self._write(conversation_id)
        self.read = end

    def crash(self, *, back: int) -> None:
        """Restart with both tables as they are, but without what the last `back` records between them made known."""
        self.read = max(0, self.read - back)
        for key in [key for key, position in self._told_at.items() if position >= self.read]:
            del self._told_at[key], self.status_changes[key]
        self.tallies.clear()
        self.tallies.update((key, Tally.of(key, self.parts(key))) for key in self.contributions)

    def parts(self, conversation_id: str) -> list[tuple[str, contributions.Contribution]]:
        """Return what each message adds to a conversation."""
        return [(key, contributions.decode(part)) for key, part in self.contributions[conversation_id].items()]

    def _row(self, conversation_id: str) -> conversation.ConversationFacts | None:
        stored = self.rows.get(conversation_id)
        return None if stored is None else conversation.decode(stored)

    def _write(self, conversation_id: str) -> None:
        tally = self.tallies[conversation_id]
        if tally.stale:
            tally = self.tallies[conversation_id] = Tally.of(conversation_id, self.parts(conversation_id))
        row = self._row(conversation_id)
        if row is None and tally.messages == 0:
            self.conversation_states.pop(conversation_id, None)
            return
        last = None if tally.last_message is None else dict(self.parts(conversation_id))[tally.last_message]
        self.conversation_states[conversation_id] = conversation_state(
            conversation.state(conversation_id, row, tally, last)
        )
