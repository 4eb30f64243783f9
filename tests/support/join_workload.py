"""Many events of many conversations, as a busy platform sends them, in an order that nobody chose."""

import random
from itertools import count
from typing import Any

from support.join_cases import at, conversation, inserted, message, opened

Envelope = dict[str, Any]

_RECEIPTS = ["accepted", "sent", "delivered", "read", "failed", "typing"]


def workload(seed: int, size: int) -> list[Envelope]:
    """Return `size` events at least, each tenth of them twice, shuffled."""
    chance = random.Random(seed)
    events: list[Envelope] = []
    for number in count():
        if len(events) >= size * 10 // 11:
            break
        events += _conversation(chance, number)
    events += chance.sample(events, len(events) // 10)
    chance.shuffle(events)
    return events


def _conversation(chance: random.Random, number: int) -> list[Envelope]:
    key = f"c{number:05}"
    events = []
    if chance.random() < 0.9:
        events.append(opened(key, number % 1000, group_address=None))
    for _ in range(chance.randrange(4)):
        second = chance.randrange(40_000)
        columns = chance.choice(
            [
                {"status": "closed"},
                {"status": "open"},
                {"name": f"name at {second}"},
                {"name": None},
                {"tags": [second]},
            ]
        )
        events.append(conversation(key, **columns, updated_at=at(second)))
    for index in range(chance.choice([1, 3, 8, 30])):
        events += _message(chance, number, f"m{number:05}-{index:03}")
    return events


def _message(chance: random.Random, number: int, key: str) -> list[Envelope]:
    second = chance.randrange(30_000)
    direction = chance.choice(["incoming", "outgoing", "outgoing", "internal"])
    first = inserted(key, f"c{number:05}", direction, second)
    if chance.random() < 0.1:
        del first["data"]["updated_at"]
    if chance.random() < 0.05:
        del first["data"]["timestamp"]
    events = [first]
    row = dict(first["data"])
    for status in chance.sample(_RECEIPTS, chance.randrange(5)):
        second += chance.randrange(3)  # now and then the same instant
        change: dict[str, Any] = {"status": {status: at(second)}, "updated_at": at(second)}
        if status == "failed":
            change["status"]["errors"] = [{"code": 131_000 + second % 100}]
        if chance.random() < 0.1:
            change["content"] = {"type": "text", "text": f"edited at {second}"}
        if chance.random() < 0.05:
            # A move, mostly to a conversation that others write of, sometimes to one that nobody else knows.
            change["conversation_id"] = chance.choice([f"c{max(0, number - 1):05}", f"lost{number:05}"])
        row = row | change | {"status": row["status"] | change["status"]}
        whole = chance.random() < 0.4
        events.append(message(key, **({k: v for k, v in row.items() if k != "id"} if whole else change)))
    return events
