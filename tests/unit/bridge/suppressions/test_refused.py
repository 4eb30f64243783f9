"""Whatever a webhook of a suppressed contact is refused for, and whoever refuses it: nothing is kept but ids."""

import functools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from avro import instants
from avro.catalogue import MAX_MEMBERS
from bridge.dead_letters.reasons import EXPLANATIONS
from bridge.delivery.items import DeadLetter, pack
from bridge.delivery.publisher import Failure
from bridge.delivery.records import Record
from bridge.delivery.spool.file import SpoolFile
from bridge.delivery.spool.leftovers import spool_path
from bridge.suppressions.hashes import Contact, row_hash
from openbsp.errors import KafkaUnavailableError
from support.fake_kafka import TIMED_OUT, TOO_LARGE, FakeKafka, FakeSuppressions, letters
from support.ingress import BOUND_TOKEN, ORGANIZATION, TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

KEY = "a key of the deployment that is long enough"
ADDRESS, CANARY = "+34600000001", "canary"
#: Entries for the contact everywhere, and for one only in an organization.
HASHES = [
    Contact(ADDRESS).hash(KEY.encode()),
    Contact("+100", "whatsapp", "o1").hash(KEY.encode()),
    row_hash(KEY.encode(), "k1", "o1"),
    row_hash(KEY.encode(), "k1", None),
]
ROW = {"id": "m", "contact_address": ADDRESS, "content": CANARY}
NARROW = {"id": "m", "contact_address": "+100", "service": "whatsapp", "organization_id": "o1", "content": CANARY}


def envelope(row: Any, action: Any = "insert", entity: str = "messages") -> dict[str, Any]:
    return {"entity": entity, "action": action, "data": row}


INVALID = {
    "unknown action": envelope(ROW, "upsert"),
    "no action": envelope(ROW, None),
    "odd organization": envelope({**ROW, "organization_id": 7}),
    "odd organization of an entry that names one": envelope({**NARROW, "organization_id": ["o1"]}),
    "odd service of an entry that names one": envelope({**NARROW, "service": 7}, "upsert"),
    "an entry that names one": envelope(NARROW, "upsert"),
    "odd conversation": envelope({**ROW, "conversation_id": 7}),
    "no id": envelope({**ROW, "id": None}),
    "too many columns": envelope(ROW | dict.fromkeys(map(str, range(MAX_MEMBERS)))),
    "odd address": envelope({**ROW, "contact_address": [ADDRESS]}, "upsert"),
    "a list of rows": envelope([ROW]),
    "a row in a text": envelope(json.dumps(ROW)),
    "a conversation": envelope({**ROW, "name": CANARY}, "upsert", "conversations"),
    "an address": envelope({"organization_id": "o1", "address": ADDRESS, "extra": CANARY}, 7, "contacts_addresses"),
    "an odd address": envelope(
        {"organization_id": "o1", "address": 7, "extra": CANARY}, "insert", "contacts_addresses"
    ),
    "no address": envelope({"organization_id": "o1", "extra": CANARY}, "insert", "contacts_addresses"),
    "a contact": envelope({"id": "k1", "organization_id": "o1", "name": CANARY}, "upsert", "contacts"),
    "a contact of an odd organization": envelope(
        {"id": "k1", "organization_id": {}, "name": CANARY}, "insert", "contacts"
    ),
    "a former row beside it": envelope({"id": "m", "contact_address": "+200"}, "upsert") | {"old": ROW},
    "a contact without id": envelope({"organization_id": "o1", "name": CANARY}, "insert", "contacts"),
}
#: Of nobody who is suppressed, as far as one can tell.
OF_OTHERS = {
    "another address": envelope({"id": "m", "contact_address": "+200"}, "upsert"),
    "another organization": envelope({**NARROW, "organization_id": "o2", "content": "a"}, "upsert"),
    "no address": envelope({"status": {}}),
    "another contact": envelope({"id": "k2", "organization_id": "o1", "name": "a"}, "upsert", "contacts"),
}


def everything(ingress: RunningIngress) -> bytes:
    """Return all bytes on the disk, the log among them, and in Kafka."""
    files = [path.read_bytes() for path in ingress.directory.rglob("*") if path.is_file()]
    return b"".join([*files, *(record.value for record in ingress.kafka.log)])


def check_nothing_is_kept(ingress: RunningIngress) -> None:
    kept = everything(ingress)
    assert CANARY.encode() not in kept
    assert ADDRESS.encode() not in kept


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    topic = FakeSuppressions(*HASHES)
    with running_ingress(tmp_path_factory.mktemp("ingress"), suppression_key=KEY, suppressions=topic) as running:
        eventually(lambda: running.metric("bridge_suppressions") == len(HASHES))
        yield running


@pytest.mark.parametrize("body", INVALID.values(), ids=INVALID)
def test_what_is_no_event_and_may_be_of_a_suppressed_contact_leaves_metadata(ingress: RunningIngress, body: object):
    answers = [ingress.post(body) for _ in range(2)]
    assert {(answer.status_code, answer.json()["reason"]) for answer in answers} == {(422, "invalid_event")}
    found = letters(ingress.kafka)[-2:]
    assert [(letter["payload"], letter["payload_size"]) for letter in found] == [(None, len(json.dumps(body)))] * 2
    assert len({letter["event_id"] for letter in found}) == 2, "an id that comes again is a fingerprint of the content"
    check_nothing_is_kept(ingress)


@pytest.mark.parametrize("body", OF_OTHERS.values(), ids=OF_OTHERS)
def test_of_others_what_is_no_event_is_kept(ingress: RunningIngress, body: object):
    assert ingress.post(body).json()["reason"] == "invalid_event"
    letter = letters(ingress.kafka)[-1]
    assert json.loads(letter["payload"]) == body


REFUSED: dict[str, tuple[Any, dict[str, str]]] = {
    "malformed_json": (json.dumps(envelope(ROW))[:-1].encode(), {}),
    "invalid_event": (INVALID["unknown action"], {}),
    "unsupported_entity": (envelope(ROW, entity="organizations_addresses"), {}),
    "wrong_organization": (envelope({**ROW, "organization_id": "another"}), {"token": BOUND_TOKEN}),
    "too_large": (envelope({**ROW, "content": CANARY + " " * 20_000}), {}),
    "suppressed": (envelope(ROW), {}),
}


@pytest.mark.parametrize("reason", sorted(code for origin, code in EXPLANATIONS if origin == "webhook"))
def test_no_reason_for_which_a_webhook_is_refused_has_its_payload_kept(tmp_path: Path, reason: str):
    body, options = REFUSED[reason]
    topic = FakeSuppressions(*HASHES)
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic, max_body_bytes=16_384) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions") == len(HASHES))
        assert ingress.post(body, **options).json()["reason"] == reason
        (letter,) = letters(ingress.kafka)
        assert (letter["origin"], letter["reason"], letter["payload"]) == ("webhook", reason, None)
        check_nothing_is_kept(ingress)


def accepted(directory: Path) -> None:
    """Leave a webhook in the spool that was accepted while nobody was suppressed."""
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(directory, kafka=kafka, suppression_key=KEY) as ingress:
        assert ingress.post(envelope(ROW)).json()["disposition"] == "spooled"


def erased_before_it_is_published(directory: Path, **settings: Any) -> FakeKafka:
    accepted(directory)
    topic = FakeSuppressions(*HASHES)
    with running_ingress(directory, suppression_key=KEY, suppressions=topic, **settings) as ingress:
        eventually(lambda: ingress.service.spool.events == 0)
        eventually(lambda: CANARY.encode() not in everything(ingress))
    return ingress.kafka


def erased_while_the_broker_refuses_it(directory: Path) -> FakeKafka:
    accepted(directory)
    kafka = FakeKafka()

    def verdict(record: Record) -> Failure | None:
        if record.topic.endswith("messages"):
            service.suppressions._suppressed.take(dict.fromkeys(HASHES, ""))
            return TOO_LARGE
        return None

    kafka.verdict = verdict
    with running_ingress(directory, kafka=kafka, suppression_key=KEY) as ingress:
        service = ingress.service
        eventually(lambda: service.spool.events == 0)
        eventually(lambda: CANARY.encode() not in everything(ingress))
    return kafka


BY_THE_BRIDGE = {
    "suppressed": erased_before_it_is_published,
    "spool_age_limit": functools.partial(erased_before_it_is_published, spool_max_age_s=0.001),
    "broker_refused": erased_while_the_broker_refuses_it,
}


@pytest.mark.parametrize("reason", sorted(code for origin, code in EXPLANATIONS if origin == "bridge"))
def test_no_reason_of_the_bridge_has_the_payload_of_who_was_erased_meanwhile_kept(tmp_path: Path, reason: str):
    """Whatever it would be refused for: that it is of a suppressed contact comes first."""
    (letter,) = letters(BY_THE_BRIDGE[reason](tmp_path))
    assert (letter["origin"], letter["reason"], letter["payload"]) == ("bridge", "suppressed", None)


def test_a_dead_letter_that_was_spooled_before_the_list_was_known_loses_its_payload(tmp_path: Path):
    body = INVALID["unknown action"]
    topic = FakeSuppressions(*HASHES, error=KafkaUnavailableError("no broker"))
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        answer = ingress.post(body).json()
        assert answer["reason"] == "invalid_event"
        assert ingress.post(OF_OTHERS["another address"]).json()["reason"] == "invalid_event"
        assert ingress.service.spool.events == 2
        topic.error = None
        eventually(lambda: ingress.service.spool.events == 0)
        eventually(lambda: len(letters(ingress.kafka)) == 2)
        first, second = letters(ingress.kafka)
        assert (first["reason"], first["payload"]) == ("invalid_event", None)
        assert first["payload_size"] == len(json.dumps(body))
        assert first["event_id"] != answer["event_id"]
        assert json.loads(second["payload"]) == OF_OTHERS["another address"]
        eventually(lambda: ADDRESS.encode() not in everything(ingress))


@pytest.mark.parametrize(
    ("payload", "kept"),
    [
        (b"\xef\xbb\xbf" + json.dumps(INVALID["unknown action"]).encode(), False),
        (b"\xef\xbb\xbf" + json.dumps(OF_OTHERS["another address"]).encode(), True),
        (b"no JSON " + CANARY.encode(), False),
        (b"[" * 100_000, False),
        (b'["canary"]', False),
    ],
    ids=["of the contact", "of another", "no JSON", "too deep", "no object"],
)
def test_a_dead_letter_in_the_spool_is_judged_by_what_can_be_read(tmp_path: Path, payload: bytes, *, kept: bool):
    """Its id is the same at each attempt, so that one that is published twice is not two."""
    at, ids = instants.now(), set()
    letter = DeadLetter("e", "invalid_event", "no action", at, entity="messages", key="m", payload=payload)
    for directory in (tmp_path / "a", tmp_path / "b"):
        file = SpoolFile(spool_path(directory / "spool", 0))
        file.append([(at, pack(letter))])
        file.close()
        topic = FakeSuppressions(*HASHES)
        with running_ingress(directory, suppression_key=KEY, suppressions=topic) as ingress:
            eventually(lambda ingress=ingress: ingress.service.spool.events == 0)
        (published,) = letters(ingress.kafka)
        assert published["payload"] == (payload if kept else None)
        ids.add(published["event_id"])
    assert len(ids) == 1
    assert (ids == {"e"}) is kept


@pytest.mark.parametrize("organization", ["another", None, 7, [ORGANIZATION]])
def test_what_is_no_event_is_not_kept_unless_its_sender_may_write_the_row(tmp_path: Path, organization: object):
    """As of an event that is refused for its organization, whatever else is wrong with it."""
    with running_ingress(tmp_path) as ingress:
        body = envelope({"id": "m", "organization_id": organization, "content": CANARY}, "upsert")
        assert ingress.post(body, token=BOUND_TOKEN).json()["reason"] == "invalid_event"
        mine = message("m", organization_id=ORGANIZATION) | {"action": "upsert"}
        assert ingress.post(mine, token=BOUND_TOKEN).json()["reason"] == "invalid_event"
        assert ingress.post(mine, token=TOKEN).json()["reason"] == "invalid_event"
        payloads = [letter["payload"] for letter in letters(ingress.kafka)]
        assert payloads[0] is None
        assert [json.loads(payload) for payload in payloads[1:]] == [mine, mine]
        check_nothing_is_kept(ingress)


@pytest.mark.parametrize("action", ["UPDATE", "update"])
def test_a_partial_update_of_a_bound_token_that_is_no_event_is_kept(tmp_path: Path, action: str):
    """It would pass if it were one, and be lost otherwise: it names neither organization nor conversation."""
    with running_ingress(tmp_path) as ingress:
        update = envelope(
            {"id": "m", "status": {"read": "2026-05-06T00:00:00Z"}, "content": 7 if action == "UPDATE" else {}}, action
        )
        if action == "update":
            update["data"] |= dict.fromkeys(map(str, range(MAX_MEMBERS)))
        assert ingress.post(update, token=BOUND_TOKEN).json()["reason"] == "invalid_event"
        (letter,) = letters(ingress.kafka)
        assert json.loads(letter["payload"]) == update
        moved = envelope({"id": "m", "conversation_id": "c", "content": CANARY}, "UPDATE")
        assert ingress.post(moved, token=BOUND_TOKEN).json()["reason"] == "invalid_event"
        check_nothing_is_kept(ingress)
