"""A deleted row: its ids travel, and nothing else of it is kept anywhere."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from avro import identity, jsontext
from avro.codec import Decoder
from avro.schemas import latest
from support.fake_kafka import IDS, TIMED_OUT, FakeKafka
from support.ingress import BOUND_TOKEN, ORGANIZATION, RunningIngress, running_ingress

SECRET = "what-was-deleted"
MESSAGE_IDS = {
    "id": "m1",
    "organization_id": ORGANIZATION,
    "conversation_id": "c1",
    "external_id": "wamid.1",
}
#: What OpenBSP sends: the row as it was.
OLD_MESSAGE = MESSAGE_IDS | {
    "direction": "incoming",
    "agent_id": None,
    "contact_address": SECRET,
    "content": {"type": "text", "text": SECRET},
    "status": {"read": "2026-05-06T03:39:23+00:00", SECRET: SECRET},
    "timestamp": "2026-05-06T03:39:23+00:00",
    "updated_at": "2026-05-06T03:39:23+00:00",
    SECRET: SECRET,
}
OLD_CONVERSATION = {"id": "c1", "organization_id": ORGANIZATION, "name": SECRET, "extra": {"draft": SECRET}}


def deleted(row: object, entity: str = "messages", action: str = "delete") -> dict[str, object]:
    return {"data": row, "entity": entity, "action": action}


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path) as running:
        yield running


def assert_nothing_is_kept(ingress: RunningIngress) -> None:
    for record in ingress.kafka.log:
        assert SECRET.encode() not in record.value + repr(record.headers).encode() + (record.key or b"")
    files = [file.read_bytes() for file in ingress.directory.rglob("*") if file.is_file()]
    assert files
    assert all(SECRET.encode() not in content for content in files)


def fields_of(value: bytes, record: str) -> dict[str, object]:
    decoder = Decoder(record)
    decoder.learn(IDS[record], latest(record).text)
    return decoder.decode(value)


@pytest.mark.parametrize(
    ("entity", "row", "ids"),
    [
        ("messages", OLD_MESSAGE, MESSAGE_IDS),
        ("messages", MESSAGE_IDS, MESSAGE_IDS),
        ("messages", {"id": "m1", "external_id": {"text": SECRET}}, {"id": "m1"}),
        ("conversations", OLD_CONVERSATION, {"id": "c1", "organization_id": ORGANIZATION}),
        ("conversations", {**OLD_CONVERSATION, "external_id": SECRET}, {"id": "c1", "organization_id": ORGANIZATION}),
    ],
    ids=["message, as it was", "message, ids only", "an id that is none", "conversation", "a column that it has not"],
)
def test_only_ids_of_a_deleted_row_travel(
    ingress: RunningIngress, entity: str, row: dict[str, object], ids: dict[str, str]
):
    answer = ingress.post(deleted(row, entity))
    assert answer.status_code == 202
    receipt = answer.json()
    assert receipt["action"] == "delete"
    (record,) = ingress.kafka.topic(entity)
    assert record.key == ids["id"].encode()
    headers = dict(record.headers)
    assert headers["ce_type"] == f"openbsp.{entity}.delete".encode()
    fields = fields_of(record.value, "MessageEvent" if entity == "messages" else "ConversationEvent")
    told = {name: value for name, value in fields.items() if value not in (None, {}, [], False)}
    assert told.pop("received_at")
    assert told == ids | {"action": "delete", "event_id": receipt["event_id"]}
    assert headers["ce_id"].decode() == receipt["event_id"]
    assert_nothing_is_kept(ingress)


def test_the_event_id_of_a_deletion_is_made_of_ids_alone(ingress: RunningIngress):
    """One made from the row would be a fingerprint of it, and another one for each way to tell of the deletion."""
    expected = identity.event_id("messages", "delete", jsontext.encode(MESSAGE_IDS))
    for row in (OLD_MESSAGE, MESSAGE_IDS):
        assert ingress.post(deleted(row)).json()["event_id"] == expected


def test_a_deletion_that_waits_in_the_spool_holds_ids_only(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        assert ingress.post(deleted(OLD_MESSAGE)).json()["disposition"] == "spooled"
        assert ingress.service.spool.events == 1
        assert_nothing_is_kept(ingress)


@pytest.mark.parametrize(
    "envelope",
    [
        deleted({**OLD_MESSAGE, "id": None}),
        deleted({**OLD_MESSAGE, "id": ""}),
        deleted({**OLD_MESSAGE, "organization_id": {"text": SECRET}}),
        deleted([OLD_MESSAGE]),
        deleted(OLD_MESSAGE, action="DELETE"),
        deleted(OLD_MESSAGE, action=" Delete\n"),
    ],
    ids=["no id", "empty id", "odd organization", "a list", "as Postgres has it", "with blanks"],
)
def test_a_deletion_that_is_no_event_leaves_metadata_only(ingress: RunningIngress, envelope: dict[str, object]):
    answer = ingress.post(envelope)
    assert (answer.status_code, answer.json()["reason"]) == (422, "invalid_event")
    (record,) = ingress.kafka.topic("dead-letters")
    letter = fields_of(record.value, "DeadLetter")
    assert (letter["payload"], letter["payload_size"]) == (None, len(json.dumps(envelope)))
    assert_nothing_is_kept(ingress)


@pytest.mark.parametrize("organization", [None, "another"])
def test_a_bound_token_deletes_only_what_names_its_organization(ingress: RunningIngress, organization: str | None):
    answer = ingress.post(deleted({**OLD_MESSAGE, "organization_id": organization}), token=BOUND_TOKEN)
    assert (answer.status_code, answer.json()["reason"]) == (403, "wrong_organization")
    assert ingress.kafka.topic("messages") == []
    assert len(ingress.kafka.topic("dead-letters")) == 1
    assert_nothing_is_kept(ingress)
    assert ingress.post(deleted(OLD_MESSAGE), token=BOUND_TOKEN).status_code == 202
