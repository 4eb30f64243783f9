"""A registry that answers nonsense, or lost its data, under a running bridge and at its start."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from avro.catalogue import TOPICS, subject
from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from support.bridge_process import TOKEN, Bridge
from support.consume import AvroReader, read_all
from support.registry_proxy import NONSENSE, Answer, Proxy, proxy
from support.wait import eventually

pytestmark = pytest.mark.integration


@pytest.mark.parametrize("nonsense", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_answer_of_a_registry_is_neither_a_refusal_nor_an_absence(bare_contract, nonsense: Answer):
    with proxy(bare_contract.registry.url) as between:
        between.answer = lambda _method, _path: nonsense
        with Registry(RegistrySettings(url=between.url), bare_contract.prefix) as registry:
            for ask in (registry.ids, lambda: registry.text(1), lambda: registry.mismatched({"MessageEvent": 1})):
                if ask is not registry.ids and nonsense[0] == 200 and b'"schema"' in nonsense[1]:
                    continue  # a proper answer to that question
                with pytest.raises(RegistryError) as failed:
                    ask()
                assert (failed.value.refused, failed.value.absent) == (False, False), failed.value


@pytest.fixture
def bridge(contract, tmp_path: Path) -> Iterator[tuple[Bridge, Proxy]]:
    with proxy(contract.registry.url) as between:
        bridge = Bridge(contract.kafka.bootstrap_servers, between.url, tmp_path, prefix=contract.prefix)
        try:
            yield bridge, between
        finally:
            bridge.close()


def post(bridge: Bridge, message_id: str) -> str:
    answer = httpx.post(
        f"{bridge.url}/webhooks",
        json={"entity": "messages", "action": "insert", "data": {"id": message_id}},
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=5,
        trust_env=False,
    )
    assert answer.status_code == 202
    return str(answer.json()["disposition"])


def test_a_bridge_starts_with_whatever_a_registry_answers_spools_and_goes_on_by_itself(bridge):
    bridge, between = bridge
    answers = iter([*NONSENSE.values()] * 100)
    between.answer = lambda _method, _path: next(answers)
    bridge.start()
    assert post(bridge, "m1") == "spooled"
    state = bridge.readiness()
    assert state["status"] == "degraded"
    between.answer = lambda _method, _path: None
    eventually(lambda: bridge.spooled == 0, within=40)
    eventually(lambda: post(bridge, "m2") == "published")
    lost = {b"m1", b"m2"} - {message.key() for message in read_all(bridge.kafka, bridge.topic)}
    print(f"\nfigure: lost: {len(lost)} of 2 accepted; the operator saw: degraded, {state['waiting_for']}")
    assert not lost


def test_a_restart_publishes_with_what_it_remembers_whatever_the_registry_answers(bridge):
    bridge, between = bridge
    bridge.start()
    eventually(lambda: post(bridge, "m1") == "published")
    bridge.terminate()
    between.answer = lambda _method, _path: NONSENSE["a page with 404"]
    bridge.start()
    eventually(lambda: post(bridge, "m2") == "published")
    eventually(lambda: "SCHEMA_REGISTRY_URL" in bridge.readiness()["waiting_for"].get("schema_registry", ""))
    assert bridge.readiness()["status"] == "degraded"


def test_after_a_registry_lost_its_data_and_others_registered_first_nothing_is_published_under_their_ids(
    bridge, contract
):
    """Until the schemas are registered again; then with the new ids, and stock consumers read each record."""
    bridge, between = bridge
    bridge.start()
    eventually(lambda: post(bridge, "m1") == "published")
    mine = json.dumps({"type": "record", "name": "Invoice", "namespace": "billing", "fields": []}).encode()

    def lost(method: str, _: str) -> Answer:
        if method == "POST":
            return 404, b'{"error_code":40401,"message":"Subject not found."}'
        return 200, json.dumps({"schema": mine.decode()}).encode()

    between.answer = lost
    eventually(lambda: bridge.readiness()["faults"] == ["schema_registry"], within=40)
    told = bridge.readiness()["waiting_for"]["schema_registry"]
    assert "is another schema, billing.Invoice" in told
    assert "bridge schemas register" in told
    assert [post(bridge, f"m{number}") for number in range(2, 12)] == ["spooled"] * 10
    # Registered again, the schemas have other ids.
    with Registry(contract.registry, contract.prefix) as registry:
        before = registry.ids()
    with httpx.Client(base_url=contract.registry.url, timeout=10, trust_env=False) as http:
        for name in (topic.name for topic in TOPICS.values() if topic.schema):
            full = subject(contract.prefix, name)
            assert http.delete(f"/subjects/{full}").is_success
            http.delete(f"/subjects/{full}", params={"permanent": "true"})
    with Registry(contract.registry, contract.prefix) as registry:
        registry.register()
        after = registry.ids()
    between.answer = lambda _method, _path: None
    eventually(lambda: bridge.spooled == 0, within=40)
    reader = AvroReader(contract.registry.url)
    messages = read_all(bridge.kafka, bridge.topic)
    ids = {int.from_bytes(message.value()[1:5]) for message in messages if message.key() != b"m1"}
    print(f"figure: ids before {before['MessageEvent']}, after {after['MessageEvent']}")
    assert ids == {after["MessageEvent"]}
    assert {reader.value(message)["id"] for message in messages if message.key() != b"m1"} == {
        f"m{number}" for number in range(2, 12)
    }
