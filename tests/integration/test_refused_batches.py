"""A broker refuses the first batch of a producer for the moment, and takes the next, which was on its way by then.

librdkafka tells of the first that it was delivered, and it is in no topic (docs/decisions/0245).
"""

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest

from streams.engine.errors import WriteFailedError
from streams.engine.outside import Clients, Clock
from streams.engine.writer import Writer
from support.bridge_process import TOKEN, Bridge
from support.consume import headers_of, read_all
from support.wait import eventually

pytestmark = pytest.mark.integration


def let_go_after_two(slow: Any, send: Any, *, refused: bytes) -> None:
    """Have two batches sent, one while the other is on its way, of which the broker refuses the first."""
    slow.hold()
    send(0)
    alone = eventually(lambda: slow.held)
    send(1)
    eventually(lambda: slow.held > alone)
    slow.release(damaged=refused)


def test_a_webhook_whose_batch_is_refused_for_the_moment_is_in_its_topic_in_the_end(network, here, tmp_path):
    broker, slow = network
    variables = {"TOPIC_PARTITIONS": "1", "KAFKA_COMPRESSION": "none", "BRIDGE_WORKERS": "1"}
    bridge = Bridge(f"127.0.0.1:{slow.port}", here.registry.url, tmp_path, variables, prefix=here.prefix)
    bridge.start()
    try:
        eventually(lambda: bridge.readiness()["status"] == "ready")
        with ThreadPoolExecutor() as senders:
            answers = []

            def send(number: int) -> None:
                data = {"id": f"message-{number}", "conversation_id": "c", "content": {"type": "text"}}
                event = {"entity": "messages", "action": "insert", "data": data}
                headers = {"Authorization": f"Bearer {TOKEN}"}
                answers.append(
                    senders.submit(httpx.post, f"{bridge.url}/webhooks", json=event, headers=headers, trust_env=False)
                )

            let_go_after_two(slow, send, refused=b"message-0")
            receipts = [answer.result(30).json() for answer in answers]
        eventually(lambda: bridge.spooled == 0)
        stored = [headers_of(record)["ce_id"] for record in read_all(broker.bootstrap_servers, bridge.topic)]
    finally:
        bridge.close()
    lost = [receipt for receipt in receipts if receipt["event_id"] not in stored]
    dispositions = [receipt["disposition"] for receipt in receipts]
    print(f"\nfigure: lost: {len(lost)} of {len(receipts)} accepted, {dispositions}, {len(stored)} in the topic")
    assert lost == []
    assert dispositions[0] == "spooled"


def test_a_worker_whose_record_is_refused_for_the_moment_ends_instead_of_committing_what_it_has_read(network, here):
    _, slow = network
    topic = here.topic("message-state")
    connection = {**here.kafka.librdkafka(), "bootstrap.servers": f"127.0.0.1:{slow.port}"}
    writer = Writer(Clients(), Clock(), connection, 20)

    def write(number: int) -> None:
        writer.write(topic, b"key", b"state %d" % number, 0)
        writer.checkpoint({(here.topic("messages"), 0): number + 1})

    def ended() -> bool:
        with contextlib.suppress(WriteFailedError):
            writer.poll()
            return False
        return True

    try:
        let_go_after_two(slow, write, refused=b"state 0")
        eventually(ended)
        with pytest.raises(WriteFailedError, match="without an offset"):
            writer.poll()
        assert writer.acknowledged == {}
    finally:
        writer.close()
