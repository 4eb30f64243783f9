"""Tables that a former version has filled, in a real cluster: a worker of this one publishes the states of now."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest
from confluent_kafka import Producer

from streams.engine.stores import group_key
from streams.tables.owned import CONVERSATIONS, MESSAGES
from support.join_outcome import await_committed, records, states
from support.views_world import partition_of
from support.wait import eventually
from unit.streams.state.test_former import MESSAGE, PART, ROW

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


def fill(contract) -> None:
    """Write what version 1 had in its changelogs: conversation c with two messages of one external id."""
    producer = Producer({**contract.kafka.librdkafka(), "acks": "all"})
    home = partition_of("c", contract.topics.partitions)
    producer.produce(contract.topic(CONVERSATIONS), ROW, group_key(b"c", b""), partition=home)
    for key in ("ghost", "real"):
        own = partition_of(key, contract.topics.partitions)
        producer.produce(contract.topic(MESSAGES), MESSAGE, key.encode(), partition=own)
        producer.produce(contract.topic(CONVERSATIONS), PART, group_key(b"c", key.encode()), partition=home)
    assert producer.flush(30) == 0


@pytest.mark.parametrize("after", ["killed", "directory lost"])
def test_tables_of_version_1_give_the_states_of_now_after_each_restart(contract, start_streams, tmp_path, after):
    fill(contract)
    directory = tmp_path / "first"

    def start(directory: Path) -> Callable[[], None]:
        worker = start_streams(STREAMS_STORE="rocksdb", STREAMS_SESSION_TIMEOUT_S="6", STREAMS_DATA_DIR=str(directory))
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=worker.url, headers=headers, timeout=30, trust_env=False) as client:
            eventually(lambda: client.get("/messages/ghost").status_code == 404, within=60)
            eventually(lambda: client.get("/conversations/c").json()["message_count"] == 1, within=60)
            shown = client.get("/conversations/c/messages").json()["messages"]
            assert [one["id"] for one in shown] == ["real"]
            assert client.get("/messages/real").json()["delivery_status"] == "sent"
        await_committed(contract)
        return worker.kill

    kill = start(directory)
    kill()
    start(directory if after == "killed" else tmp_path / "second")
    assert "ghost" not in states(contract, "message-state")
    counted = states(contract, "conversation-state")["c"]
    assert (counted["message_count"], counted["status_counts"]) == (1, {"sent": 1})
    assert records(contract, "dead-letters") == []
