"""Each message that turns out to be superseded is told of once, and no other."""

from random import Random
from typing import Any

import pytest

from streams.engine.hooks import Hook
from streams.engine.stores.memory import MemoryStore
from streams.engine.table import TablePartition
from streams.state import message
from streams.tables.contributions import HolderRecord, VerdictRecord, decode_record
from streams.tables.messages import MessagePartition
from streams.tables.owned import MESSAGES
from support.join_cases import at, inserted, status_of
from support.wire import event_of
from unit.streams.test_join_former_holders import Written
from unit.streams.test_join_turns import contract_of


class Table:
    """A table of messages that hears what it tells itself, as it is the only partition."""

    def __init__(self) -> None:
        contract, self.count = contract_of(), 0
        self._written = Written(contract.topic("streams-contributions"))
        superseded = Hook[[]]()
        superseded.add(self._count)
        rows = TablePartition(0, MemoryStore(), contract.topic(MESSAGES), self._written)
        self.messages = MessagePartition(rows, contract, self._written, superseded)

    def _count(self) -> None:
        self.count += 1

    def take(self, *webhooks: dict[str, Any]) -> None:
        for webhook in webhooks:
            self.messages.apply(event_of(webhook), 100, replayed=False)
        while self._hears():
            pass

    def exists(self, message_id: str) -> bool:
        facts = self.messages.facts(message_id)
        return facts is not None and message.exists(message.effective(facts))

    def _hears(self) -> bool:
        """Flush, and take what was written to the topic between the tables."""
        list(self.messages.publishing())
        list(self.messages.flushing())
        told, self._written.records = self._written.records, []
        for key, value in told:
            assert key is not None
            assert value is not None
            match decode_record(value):
                case HolderRecord() as record:
                    self.messages.apply_holder(key, record)
                case VerdictRecord() as record:
                    self.messages.apply_verdict(key.decode(), record)
        return bool(told)


def race(name: str) -> list[dict[str, Any]]:
    """Return the webhooks of a message and of the row that a receipt made before its external id was stored."""
    found = inserted(f"{name}-real", "c", "outgoing", 10, external_id=name)
    found["data"] |= {"status": {"pending": at(10), "accepted": at(12)}, "updated_at": at(12)}
    return [
        inserted(f"{name}-real", "c", "outgoing", 10, external_id=None),
        inserted(f"{name}-ghost", "c", "outgoing", 11, external_id=name),
        status_of(f"{name}-ghost", "pending", 11),
        found | {"action": "update"},
    ]


@pytest.mark.parametrize("at_once", [True, False], ids=["in one batch", "one by one"])
def test_each_superseded_message_counts_once_in_any_order_and_told_again(*, at_once: bool):
    for seed in range(20):
        webhooks = [webhook for number in range(3) for webhook in race(f"w{number}")]
        webhooks.append(inserted("alone", "c", "incoming", 20, external_id="other"))
        order, table = Random(seed), Table()
        for _ in range(2):
            order.shuffle(webhooks)
            for batch in [webhooks] if at_once else [[webhook] for webhook in webhooks]:
                table.take(*batch)
        assert table.count == 3, seed


def test_a_message_that_is_deleted_is_not_superseded():
    row = inserted("m", "c", "outgoing", 10, external_id="w")
    delete = {"entity": "messages", "action": "delete", "data": {"id": "m", "organization_id": "org"}}
    alone = Table()
    alone.take(row, delete)
    with_its_conversation = Table()
    with_its_conversation.take(row)
    # What its conversation tells it, if that is deleted.
    with_its_conversation.messages.apply_verdict("m", VerdictRecord("", ["org"], None, None, conversation="c"))
    with_its_conversation.take()
    for table in (alone, with_its_conversation):
        assert (table.count, table.exists("m")) == (0, False)
