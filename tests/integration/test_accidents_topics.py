"""Topics that go wrong under a running bridge, on a broker that creates topics by itself, as Kafka's default is."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from confluent_kafka.admin import AdminClient, NewPartitions, NewTopic

from bridge.suppressions.hashes import Contact
from openbsp.kafka.connection import KafkaSettings
from openbsp.kafka.writing import write_one
from openbsp.local.stack import LocalStack
from support.bridge_process import TOKEN, Bridge
from support.consume import headers_of, read_all
from support.load import Load
from support.topic_settings import empty
from support.wait import eventually

pytestmark = pytest.mark.integration


@pytest.fixture(scope="module")
def servers() -> Iterator[LocalStack]:
    with LocalStack(kafka_properties={"auto.create.topics.enable": "true"}) as running:
        yield running


@pytest.fixture
def bridge(servers: LocalStack, tmp_path: Path) -> Iterator[Bridge]:
    bridge = Bridge(servers.kafka, servers.registry, tmp_path)
    bridge.prepare()
    bridge.start()
    yield bridge
    bridge.close()


@pytest.fixture
def admin(servers: LocalStack) -> AdminClient:
    return AdminClient({"bootstrap.servers": servers.kafka, "log_level": 0})


def delete(admin: AdminClient, name: str) -> None:
    admin.delete_topics([name])[name].result(10)
    eventually(lambda: name not in admin.list_topics(timeout=10).topics)


def create(admin: AdminClient, topic: NewTopic) -> None:
    def created() -> bool:
        admin.create_topics([topic])[topic.topic].result(10)
        return True

    eventually(created)


def named(bridge: Bridge, text: str) -> Callable[[], bool]:
    """Return whether the bridge is degraded and says why."""

    def look() -> bool:
        state = bridge.readiness()
        return state["status"] == "degraded" and text in state["waiting_for"].get("kafka", "")

    return look


def ready(bridge: Bridge) -> bool:
    return bridge.readiness()["status"] == "ready"


def replaced(bridge: Bridge, name: str) -> bool:
    """Return whether nothing is waited for any more, and the operator is told that former records are lost."""
    state = bridge.readiness()
    told = "".join(state["remarks"])
    return state["waiting_for"] == {} and f"former records are lost: {name}." in told


def assert_nothing_lost(bridge: Bridge, load: Load, deleted_at: float) -> None:
    """Look for each event that was accepted, but for those that were in the topic when it was deleted.

    Such a one was sent before the end of that, and its answer may have come later.
    """
    eventually(lambda: bridge.spooled == 0, within=60)
    messages = read_all(bridge.kafka, bridge.topic)
    found = {headers_of(message)["ce_id"] for message in messages}
    accepted = set(load.accepted.values()) - published(load, sent_until=deleted_at)
    lost = accepted - found
    print(f"\nfigure: lost: {len(lost)} of {len(accepted)} accepted ({load.outcomes})")
    assert not lost
    assert load.outcomes.keys() <= {"published", "spooled"}
    assert load.slowest < 5
    assert {message.partition() for message in messages} == {0, 1, 2, 3}


def published(load: Load, sent_until: float) -> set[str]:
    """Return the events that were sent until then and answered as published."""
    sent = [attempt for attempt in load.attempts if attempt.started <= sent_until]
    return {attempt.answer["event_id"] for attempt in sent if attempt.answer.get("disposition") == "published"}


def test_a_topic_that_is_deleted_is_missing_until_an_operator_creates_it(bridge: Bridge, admin: AdminClient):
    with Load(bridge.url, TOKEN, per_second=50) as load:
        eventually(lambda: load.count("published") > 50)
        delete(admin, bridge.topic)
        deleted_at = time.monotonic()
        eventually(named(bridge, f"{bridge.topic}: missing"), within=30)
        before = len(load.attempts)
        eventually(lambda: len(load.attempts) > before + 50)
        assert bridge.topic not in admin.list_topics(timeout=10).topics
        bridge.prepare()
        eventually(lambda: bridge.spooled == 0, within=30)
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load, deleted_at)
    eventually(lambda: replaced(bridge, "messages"))


@pytest.mark.parametrize(
    ("partitions", "config", "reason"),
    [(1, {}, "1 partitions"), (4, {"cleanup.policy": "compact"}, "cleanup.policy is compact")],
    ids=["one partition", "another policy"],
)
def test_a_topic_that_somebody_creates_again_and_wrong_is_not_written_to(
    bridge: Bridge, admin: AdminClient, partitions: int, config: dict[str, str], reason: str
):
    with Load(bridge.url, TOKEN, per_second=100) as load:
        # Each partition has records by then: what tells the producer that they are gone.
        eventually(lambda: load.count("published") > 100)
        admin.delete_topics([bridge.topic])[bridge.topic].result(10)
        create(admin, NewTopic(bridge.topic, partitions, 1, config=config))
        deleted_at, published_before = time.monotonic(), load.count("published")
        eventually(named(bridge, f"{bridge.topic}: {reason}"), within=30)
        before = load.count("spooled")
        eventually(lambda: load.count("spooled") > before + 50)
        assert load.count("published") - published_before < 20
        # What was written to the wrong topic in the meantime is not in doubt either: it is in the spool as well.
        delete(admin, bridge.topic)
        bridge.prepare()
        eventually(lambda: bridge.spooled == 0, within=30)
        before = load.count("published")
        eventually(lambda: load.count("published") > before + 50)
    assert_nothing_lost(bridge, load, deleted_at)
    eventually(lambda: replaced(bridge, "messages"))


def test_status_changes_that_are_deleted_and_created_again_are_told(bridge: Bridge, admin: AdminClient):
    """The bridge does not write to them, and whoever does writes on."""
    post(bridge, "m1")
    delete(admin, f"{bridge.prefix}status-changes")
    bridge.prepare()
    eventually(lambda: replaced(bridge, "status-changes"), within=60)
    assert post(bridge, "m2")["disposition"] == "published"
    print("\nfigure: lost: 0 of 2 accepted; the operator saw: degraded, former records are lost: status-changes")


def test_more_partitions_than_the_setting_are_not_used_until_the_operator_decides(bridge: Bridge, admin: AdminClient):
    admin.create_partitions([NewPartitions(bridge.topic, 8)])[bridge.topic].result(10)
    eventually(named(bridge, f"{bridge.topic}: 8 partitions, the join needs TOPIC_PARTITIONS=4"), within=30)
    assert post(bridge, "m1")["disposition"] == "spooled"
    spooled, state = bridge.spooled, bridge.readiness()
    print(f"\nfigure: lost: {1 - spooled} of 1 accepted; the operator saw: degraded, {state['waiting_for']['kafka']}")
    assert spooled == 1


def test_it_starts_without_topics_and_with_settings_that_an_operator_chose(
    servers: LocalStack, admin: AdminClient, tmp_path: Path
):
    bridge = Bridge(servers.kafka, servers.registry, tmp_path)
    try:
        bridge.start()
        eventually(named(bridge, f"{bridge.topic}: missing"))
        assert post(bridge, "m1")["disposition"] == "spooled"
        create(admin, NewTopic(bridge.topic, 4, 1, config={"retention.ms": "3600000", "max.message.bytes": "100000"}))
        bridge.prepare()
        eventually(lambda: bridge.spooled == 0, within=30)
        eventually(lambda: post(bridge, "m2")["disposition"] == "published")
        state = bridge.readiness()
        assert state["status"] == "degraded"
        assert sum("retention.ms" in remark or "max.message.bytes" in remark for remark in state["remarks"]) == 2
        lost = {b"m1", b"m2"} - {message.key() for message in read_all(bridge.kafka, bridge.topic)}
        print(f"\nfigure: lost: {len(lost)} of 2 accepted; the operator saw: degraded, {'; '.join(state['remarks'])}")
        assert not lost
    finally:
        bridge.close()


@pytest.mark.parametrize("accident", ["deleted", "created again", "emptied"])
def test_a_suppression_list_that_is_lost_stays_in_effect_and_is_told(
    servers: LocalStack, admin: AdminClient, tmp_path: Path, accident: str
):
    key = "the key of a deployment, for tests alone"
    bridge = Bridge(servers.kafka, servers.registry, tmp_path, {"BRIDGE_SUPPRESSION_KEY": key})
    topic, kafka = f"{bridge.prefix}suppressions", KafkaSettings(bootstrap_servers=servers.kafka)

    def suppress(address: str) -> None:
        write_one(kafka, topic, Contact(address).hash(key.encode()).encode(), b"{}", [])

    def refused(address: str) -> bool:
        return send(bridge, {"id": f"m{address}", "contact_address": address}).status_code == 422

    def lost() -> list[str]:
        return [remark for remark in bridge.readiness()["remarks"] if "of its entries" in remark]

    try:
        bridge.prepare()
        suppress("+1")
        bridge.start()
        eventually(lambda: refused("+1"))
        suppress("+2")
        eventually(lambda: refused("+2"))
        if accident == "emptied":
            empty(admin, [], [topic])
        else:
            delete(admin, topic)
        if accident == "created again":
            bridge.prepare()
        (told,) = eventually(lost, within=90)
        assert "lacks 2 of its entries" in told
        assert bridge.readiness()["status"] == "degraded"
        let_in = [address for address in ("+1", "+2") if not refused(address)]
        print(f"\nfigure: let in: {len(let_in)} of 2 suppressed contacts; the operator saw: degraded, {told}")
        assert not let_in
        eventually(lambda: '"suppressions.lost"' in bridge.log.read_text("utf-8"))
        bridge.prepare()
        eventually(lambda: suppress("+1") is None)
        eventually(lambda: "lacks 1 of its entries" in "".join(lost()), within=90)
        suppress("+2")
        eventually(lambda: ready(bridge), within=60)
    finally:
        bridge.close()


def test_an_empty_suppression_list_whose_topic_is_created_again_is_followed(
    servers: LocalStack, admin: AdminClient, tmp_path: Path
):
    """Its ends do not go back, and its leader has a lower epoch than the reader remembers of the former one."""
    key = "the key of a deployment, for tests alone"
    bridge = Bridge(servers.kafka, servers.registry, tmp_path, {"BRIDGE_SUPPRESSION_KEY": key})
    topic, kafka = f"{bridge.prefix}suppressions", KafkaSettings(bootstrap_servers=servers.kafka)
    try:
        bridge.prepare()
        servers.broker.kill()
        servers.broker.start()
        bridge.start()
        eventually(lambda: post(bridge, "m1")["disposition"] == "published", within=30)
        admin.delete_topics([topic])[topic].result(10)
        create(admin, NewTopic(topic, 4, 1, config={"cleanup.policy": "compact"}))
        write_one(kafka, topic, Contact("+1").hash(key.encode()).encode(), b"{}", [])
        late = {"id": "m2", "contact_address": "+1"}
        eventually(lambda: send(bridge, late).status_code == 422, within=60)
        print("\nfigure: let in: 0 of 1 suppressed contacts, once the bridge has looked; the operator saw: nothing")
    finally:
        bridge.close()


def send(bridge: Bridge, data: dict[str, str]) -> httpx.Response:
    return httpx.post(
        f"{bridge.url}/webhooks",
        json={"entity": "messages", "action": "insert", "data": data},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=5,
        trust_env=False,
    )


def post(bridge: Bridge, message_id: str) -> dict[str, str]:
    answer = send(bridge, {"id": message_id})
    assert answer.status_code == 202
    return answer.json()
