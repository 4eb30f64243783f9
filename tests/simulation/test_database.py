"""The simulated database, and what the rules of docs/design.md make of its webhooks: what it has, nothing more.

The rules see the webhooks only, the database knows its rows, so one judges the other before a worker has run.
"""

from collections import Counter
from itertools import pairwise
from random import Random

import pytest

from simulation.database import lived, rows_of
from support.reference import fold, is_shown

HISTORIES = 300


def test_the_states_of_all_webhooks_are_those_of_the_rows_that_the_database_has():
    for seed in range(HISTORIES):
        webhooks = lived(Random(seed))
        Random(seed).shuffle(webhooks)
        assert fold(webhooks)[:2] == fold(rows_of(webhooks))[:2], seed


def test_what_happens_in_a_database_is_all_that_openbsp_is_known_for():
    seen = Counter[str]()
    for seed in range(HISTORIES):
        webhooks = lived(Random(seed))
        messages, conversations, _ = fold(rows_of(webhooks))
        seen["scheduled"] += sum(one["scheduled"] for one in messages.values())
        seen["archived"] += sum(one["archived"] for one in conversations.values())
        put_away = [one for one in conversations.values() if '"archived":"2026' in one["extra"].get("extra", "")]
        seen["back from the archive"] += sum(not one["archived"] for one in put_away)
        seen["reactions"] += sum('"reaction"' in (one["content"] or "") for one in messages.values())
        seen["failed"] += sum(one["failed_count"] for one in conversations.values())
        seen["no instants"] += sum(bool(one["status_extra"]) for one in messages.values())
        seen["far away"] += sum((one["timestamp"] or 0) > 7_000_000_000_000_000 for one in messages.values())
        seen["before 1970"] += sum((one["timestamp"] or 0) < 0 for one in messages.values())
        seen["active in days"] += sum(
            is_shown(one) and (one["timestamp"] or 0) > (conversations[one["conversation_id"]]["active_at"] or 0)
            for one in messages.values()
        )
        gone = {row for webhook in webhooks for row in webhook["gone"]}
        seen["ghosts"] += sum(key.startswith("ghost") for _, key in gone)
        seen["deleted"] += sum(not key.startswith("ghost") for _, key in gone)
        rows = [one["data"] for one in webhooks if ("messages", one["data"]["id"]) in gone]
        had = {row.get("external_id") for row in rows if not row["id"].startswith("ghost")} - {None}
        seen["external ids again"] += sum(one["external_id"] in had for one in messages.values())
        told = [webhook["data"].get("updated_at") or "9" for webhook in webhooks]
        seen["committed late"] += sum(later < earlier for earlier, later in pairwise(told))
    assert min(seen.values()) > 10, seen


@pytest.mark.parametrize("row", [("messages", "m0"), ("conversations", "c0")])
def test_of_each_row_the_last_commit_counts_whatever_came_last(row):
    entity, key = row
    webhooks = [
        {"entity": entity, "action": "update", "data": {"id": key, "n": n}, "received_at": n, "commit": n, "gone": []}
        for n in (2, 3, 1)
    ]
    [told] = rows_of(webhooks)
    assert (told["data"]["n"], told["received_at"]) == (3, 3)
    assert rows_of([*webhooks, webhooks[0] | {"action": "delete", "gone": [row], "data": {"id": key}}]) == []
