"""Whatever happens to the rows of an OpenBSP, through a real broker, out of order, twice, and after a kill."""

import random
import re

import httpx
import pytest

from simulation.database import lived, rows_of
from support.join_cases import Envelope, at, inserted, opened, status_of
from support.join_fleet import Fleet
from support.join_outcome import Outcome, await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.join_views import Views
from support.look import shown
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


def ghosts(name: str) -> list[dict]:
    """Return a message whose receipt came before its external id, what the platform made of that, and their end."""
    real, ghost, where = f"{name}-real", f"{name}-ghost", f"{name}-c"
    status = {"pending": at(10), "sent": at(12), "accepted": at(12), "delivered": at(13)}
    receipt = inserted(ghost, where, "outgoing", 11, external_id=f"wamid.{name}")
    receipt["data"] |= {"content": {}, "status": {"sent": at(11)}}
    found = inserted(real, where, "outgoing", 10, external_id=f"wamid.{name}")
    found["data"] |= {"status": status, "updated_at": at(13)}
    return [
        opened(where, 1),
        inserted(f"{name}-in", where, "incoming", 5),
        inserted(real, where, "outgoing", 10, external_id=None),
        receipt,
        status_of(ghost, "sent", 12),
        found | {"action": "update"},
    ]


def deletes(name: str) -> list[dict]:
    """Return a message that is deleted, and a conversation that is deleted with its messages."""
    kept, gone = f"{name}-kept", f"{name}-gone"
    return [
        opened(kept, 1),
        inserted(f"{name}-m1", kept, "incoming", 5),
        inserted(f"{name}-m2", kept, "outgoing", 6),
        {"entity": "messages", "action": "delete", "data": {"id": f"{name}-m2"}},
        opened(gone, 2),
        inserted(f"{name}-m3", gone, "incoming", 7),
        inserted(f"{name}-m4", gone, "outgoing", 8),
        {"entity": "conversations", "action": "delete", "data": {"id": gone}},
    ]


def superseded_by(url: str) -> float:
    """Return how many messages a worker has found to be superseded."""
    text = shown(f"{url}/metrics", TOKEN)
    (number,) = re.findall(r"^streams_messages_superseded_total (\S+)$", text, re.MULTILINE)
    return float(number)


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_superseded_and_deleted_rows_are_gone_and_stay_gone(contract, start_streams, store):
    sources = Sources(contract)
    events = [event for number in range(8) for event in (*ghosts(f"g{number}"), *deletes(f"d{number}"))]
    order = random.Random(12)
    first = events + order.sample(events, len(events) // 2)
    order.shuffle(first)
    worker = start_streams(STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S="6")
    sources.send(first)
    await_committed(contract)
    expected = expected_of(events)
    assert outcome_of(contract).differences(expected) == []
    assert superseded_by(worker.url) == 8

    worker.kill()
    worker = start_streams(STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S="6")
    sources.send(order.sample(events, len(events)))
    await_committed(contract)
    assert outcome_of(contract).differences(expected) == []
    with Views([worker.url], TOKEN) as views:
        assert views.differences(expected) == []
        for number in range(8):
            for key in (f"g{number}-ghost", f"d{number}-m2", f"d{number}-m3", f"d{number}-m4"):
                assert views.get("messages", key) is None
            assert views.get("conversations", f"d{number}-gone") is None
    assert records(contract, "dead-letters") == []


def lives(seeds: range) -> list[Envelope]:
    """Return the webhooks of several databases (`simulation.database`) with no row and no external id in common."""
    told = []
    for seed in seeds:
        for webhook in lived(random.Random(seed)):
            data = webhook["data"]
            ids = [name for name in ("id", "conversation_id", "external_id") if data.get(name) is not None]
            own = data | {name: f"{seed}-{data[name]}" for name in ids}
            gone = [(entity, f"{seed}-{key}") for entity, key in webhook["gone"]]
            told.append(webhook | {"data": own, "gone": gone})
    return told


STORES = {"memory": range(40), "rocksdb": range(40, 80)}


@pytest.mark.parametrize(("store", "seeds"), STORES.items(), ids=STORES)
def test_the_states_are_those_of_the_rows_that_databases_have_in_the_end(contract, tmp_path, store, seeds):
    """Of all webhooks that they have sent, out of order and some of them twice, with a kill of the worker amid them."""
    webhooks = lives(seeds)
    order = random.Random(seeds.start)
    came = webhooks + order.sample(webhooks, len(webhooks) // 2)
    order.shuffle(came)
    half = len(came) // 2
    told, left = expected_of(webhooks), expected_of(rows_of(webhooks))
    expected = Outcome(left.messages, left.conversations, told.status_changes, told.told)
    sources = Sources(contract)
    sources.send(came[:half])
    with Fleet(contract, tmp_path, STREAMS_STORE=store) as running:
        worker = running.add()
        eventually(lambda: records(contract, "message-state"), within=60)
        running.kill(worker)
        sources.send(came[half:])
        await_committed(contract)
        print(len(came), "webhooks:", expected)
        assert outcome_of(contract).differences(expected) == []
        assert worker.exits == [-9]
        with Views(running.urls, TOKEN) as views:
            assert views.differences(expected) == []
    assert records(contract, "dead-letters") == []


def test_a_token_of_another_organization_changes_nothing(contract, start_bridge, start_streams):
    """Rows, updates and deletes of the ids of org, before and after org's own rows come, and after a kill."""
    sources = Sources(contract)
    own = [
        {**event, "organizations": ["org"], "received_at": 1_000}
        for name in ("a", "b")
        for event in (
            opened(name, 1),
            inserted(f"{name}1", name, "outgoing", 5, external_id=f"wamid.{name}"),
            inserted(f"{name}2", name, "incoming", 6),
            status_of(f"{name}1", "sent", 7),
        )
    ]
    expected = expected_of(own)

    def attacks(name: str) -> list[dict]:
        told = [
            opened(name, 90),
            inserted(f"{name}1", name, "incoming", 91),
            inserted(f"{name}-other", name, "incoming", 92, external_id=f"wamid.{name}"),
        ]
        told = [event | {"data": event["data"] | {"organization_id": "evil"}} for event in told]
        told += [
            {"entity": entity, "action": "delete", "data": {"id": key, "organization_id": "evil"}}
            for entity, key in (("messages", f"{name}1"), ("conversations", name))
        ]
        return [*told, status_of(f"{name}2", "read", 93)]

    def theirs(outcome):
        kept = {key: state for key, state in outcome.messages.items() if not key.endswith("-other")}
        changes = {key: pair for key, pair in outcome.status_changes.items() if pair[0] in kept}
        return Outcome(kept, outcome.conversations, changes)

    early = [{**event, "organizations": ["evil"], "received_at": 2_000} for event in attacks("a")]
    worker = start_streams(STREAMS_SESSION_TIMEOUT_S="6")
    sources.send([*early, *own])
    await_committed(contract)
    assert theirs(outcome_of(contract)).differences(expected) == []

    bridge = start_bridge(BRIDGE_TOKENS="own=token-of-the-owner@org,evil=token-of-the-attacker@evil")
    with httpx.Client(trust_env=False, headers={"Authorization": "Bearer token-of-the-attacker"}) as client:
        for event in (*attacks("b"), *attacks("a")):
            assert client.post(f"{bridge.url}/webhooks", json=event).status_code == 202
    worker.kill()
    start_streams(STREAMS_SESSION_TIMEOUT_S="6")
    await_committed(contract)
    assert theirs(outcome_of(contract)).differences(expected) == []
    assert records(contract, "dead-letters") == []
