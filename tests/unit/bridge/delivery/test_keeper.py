"""What happens when Kafka does not answer in time, or at all: deadline, breaker, order, disk."""

import json
import socket
import sqlite3
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from bridge.delivery import keeper
from bridge.delivery.spool.file import SpoolFile
from bridge.http.protocol import WebhookProtocol
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from support.fake_kafka import TIMED_OUT, FakeKafka, FakeRegistry, FakeTopics
from support.ingress import TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually


def keys(kafka: FakeKafka, topic: str = "messages") -> list[str]:
    return [record.key.decode() for record in kafka.topic(topic)]


def until_it_queues(ingress: RunningIngress, pool: ThreadPoolExecutor, body: dict[str, Any]) -> "Future[Any]":
    """Post until the event waits for room in the spool, and return its answer to come."""
    sent: list[Future[Any]] = []

    def queues() -> bool:
        # Trap: what the drain had handed over before may still be reported, and has the topics verified once more.
        if not sent or sent[-1].done():
            sent.append(pool.submit(ingress.post, body))
        return len(ingress.service.keeper.queueing) == 1

    eventually(queues)
    return sent[-1]


def test_past_the_deadline_an_event_is_spooled_and_later_published(tmp_path: Path):
    kafka = FakeKafka()
    with running_ingress(tmp_path, kafka=kafka, deadline_s=0.3) as ingress:
        kafka.stop_answering()
        started = time.monotonic()
        answer = ingress.post(message("late"))
        assert 0.3 <= time.monotonic() - started < 2
        assert answer.status_code == 202
        assert answer.json() == {
            "event_id": answer.json()["event_id"],
            "entity": "messages",
            "action": "insert",
            "id": "late",
            "disposition": "spooled",
        }
        assert ingress.details()["status"] == "degraded"
        assert ingress.metric("bridge_spool_events") == 1
        assert ingress.metric("bridge_publish_failures_total", error="deadline") == 1
        kafka.answer()
        eventually(lambda: ingress.service.spool.events == 0)
        # The producer had it already, so it is there twice, under the same id.
        assert keys(kafka) == ["late", "late"]
        assert len({dict(record.headers)["ce_id"] for record in kafka.log}) == 1
        eventually(lambda: ingress.details()["status"] == "ready")


@pytest.mark.parametrize("deadline_s", [0.3, 4])
def test_what_a_producer_gives_up_is_not_overtaken_by_what_it_still_has(tmp_path: Path, deadline_s: float):
    """Until an event's deadline others go to the producer too; when it is given up, theirs have passed as well."""
    with running_ingress(tmp_path, deadline_s=deadline_s) as ingress:
        assert ingress.kafka.publishers[0].timeout_s > 2 * deadline_s


def test_during_an_outage_only_the_first_waits_for_the_deadline(tmp_path: Path):
    kafka = FakeKafka()
    with running_ingress(tmp_path, kafka=kafka, deadline_s=2) as ingress:
        kafka.stop_answering()
        ingress.post(message("first"))
        started = time.monotonic()
        for number in range(5):
            assert ingress.post(message(str(number))).json()["disposition"] == "spooled"
        assert time.monotonic() - started < 2


def test_what_finds_a_full_spool_that_drains_waits_for_room_and_overtakes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keeper, "_ROOM_WAIT_S", 60.0)
    monkeypatch.setattr(keeper, "SPOOL_WAIT_S", 60.0)  # nothing but a full spool is answered 503
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, spool_max_bytes=1 << 20) as ingress, ThreadPoolExecutor() as pool:
        before = []
        monkeypatch.setattr(keeper, "_ROOM_WAIT_S", 0.0)  # nobody waits while it is being filled
        while ingress.post(message(f"before {len(before)}", content="x" * 150_000)).status_code == 202:
            before.append(f"before {len(before)}")
        monkeypatch.setattr(keeper, "_ROOM_WAIT_S", 60.0)
        # Kafka takes records again, and has acknowledged none yet.
        kafka.stop_answering()
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.details()["waiting_for"] == {})
        queued = until_it_queues(ingress, pool, message("before 0", content="y" * 150_000))
        kafka.answer()
        answer = queued.result()
        assert (answer.status_code, answer.json()["disposition"]) == (202, "spooled")
        eventually(lambda: ingress.service.spool.events == 0)
        assert ingress.post(message("direct")).json()["disposition"] == "published"
        assert ingress.metric("bridge_memory_bytes") == 0
    first = [key for number, key in enumerate(keys(kafka)) if key not in keys(kafka)[:number]]
    assert (sorted(first[:-1]), first[-1]) == (sorted(before), "direct")
    ids = [dict(record.headers)["ce_id"] for record in kafka.topic("messages") if record.key == b"before 0"]
    assert len(set(ids)) == 2
    assert ids[-1] == answer.json()["event_id"].encode()


def test_where_nothing_leaves_a_full_spool_in_time_the_event_is_not_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keeper, "_ROOM_WAIT_S", 0.1)
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, spool_max_bytes=1 << 20) as ingress:
        while ingress.post(message("fills", content="x" * 150_000)).status_code == 202:
            pass
        kafka.stop_answering()
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.details()["waiting_for"] == {})
        for size in (150_000, 1 << 20):
            answer = ingress.post(message("late", content="x" * size))
            assert (answer.status_code, answer.json()["reason"]) == (503, "not_stored")
        assert len(ingress.service.keeper.queueing) == 0
        kafka.answer()
        eventually(lambda: ingress.service.spool.events == 0)
        assert "late" not in keys(kafka)


def test_what_fits_into_a_spool_is_not_lost_with_what_waits_before_it_and_does_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(keeper, "_ROOM_WAIT_S", 2.0)
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, spool_max_bytes=1 << 20) as ingress, ThreadPoolExecutor() as pool:
        while ingress.post(message("fills", content="x" * 150_000)).status_code == 202:
            pass
        kafka.stop_answering()
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.details()["waiting_for"] == {})
        large = until_it_queues(ingress, pool, message("large", content="x" * 150_000))
        assert ingress.post(message("small")).json()["disposition"] == "spooled"
        assert large.result().json()["reason"] == "not_stored"
        kafka.answer()
        eventually(lambda: ingress.service.spool.events == 0)
        assert set(keys(kafka)) == {"fills", "small"}


def test_what_comes_after_a_spooled_event_queues_behind_it(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        sent = [f"event {number}" for number in range(50)]
        assert {ingress.post(message(key)).json()["disposition"] for key in sent} == {"spooled"}
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert ingress.post(message("after")).json()["disposition"] == "published"
    assert (sorted(keys(kafka)[:-1]), keys(kafka)[-1]) == (sorted(sent), "after")


def test_a_failed_report_does_not_wait_for_the_deadline(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, deadline_s=4) as ingress:
        started = time.monotonic()
        assert ingress.post(message()).json()["disposition"] == "spooled"
        assert time.monotonic() - started < 2
        assert ingress.metric("bridge_publish_failures_total", error="_MSG_TIMED_OUT") >= 1


def test_the_deadline_counts_from_the_arrival_and_not_from_the_end_of_a_slow_body(tmp_path: Path):
    kafka = FakeKafka()
    kafka.stop_answering()
    with running_ingress(tmp_path, kafka=kafka, deadline_s=2) as ingress:

        def slow_body():
            body = b'{"entity":"messages","action":"insert","data":{"id":"slow"}}'
            yield body[:10]
            time.sleep(1.5)  # the slowness of a client is time
            yield body[10:]

        started = time.monotonic()
        answer = ingress.client.post(
            f"{ingress.url}/webhooks",
            content=slow_body(),
            headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
        )
        assert answer.json()["disposition"] == "spooled"
        assert 1.95 < time.monotonic() - started < 3.4


def test_nothing_is_published_before_the_topics_are_found_right(tmp_path: Path):
    topics = FakeTopics()
    topics.available = False
    with running_ingress(tmp_path, topics=topics) as ingress:
        assert ingress.post(message("early")).json()["disposition"] == "spooled"
        assert ingress.kafka.attempts == 0
        details = ingress.details()
        assert details["status"] == "degraded"
        assert details["waiting_for"] == {"kafka": "no broker answered"}
        topics.available = True
        eventually(lambda: keys(ingress.kafka) == ["early"])


def test_events_are_spooled_while_the_registry_is_down(tmp_path: Path):
    registry = FakeRegistry()
    registry.available = False
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message("early")).json()["disposition"] == "spooled"
        assert ingress.details()["waiting_for"] == {"schema_registry": "the registry does not answer"}
        registry.available = True
        eventually(lambda: keys(ingress.kafka) == ["early"])


def test_schema_ids_are_remembered_over_a_restart_while_the_registry_is_down(tmp_path: Path):
    with running_ingress(tmp_path) as ingress:
        ingress.post(message("first"))
    registry = FakeRegistry()
    registry.available = False
    with running_ingress(tmp_path, registry=registry) as ingress:
        assert ingress.post(message("second")).json()["disposition"] == "published"


def test_schema_ids_are_remembered_over_a_restart_while_the_registry_lets_nobody_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def denied(*_: object) -> None:
        raise SchemaRegistryError(401, 40101, "Unauthorized")

    with running_ingress(tmp_path) as ingress:
        ingress.post(message("first"))
    monkeypatch.setattr(SchemaRegistryClient, "lookup_schema", denied)
    with (
        Registry(RegistrySettings(), "test.") as registry,
        running_ingress(tmp_path, registry=registry) as ingress,
    ):
        assert ingress.post(message("second")).json()["disposition"] == "published"
        assert ingress.details()["faults"] == []
        assert "SCHEMA_REGISTRY_PASSWORD" in ingress.details()["waiting_for"]["schema_registry"]


def test_topics_that_turn_out_different_later_stop_the_publishing_and_not_the_receiving(tmp_path: Path):
    topics = FakeTopics(["messages: 3 partitions"])
    topics.available = False
    with running_ingress(tmp_path, topics=topics) as ingress:
        topics.available = True
        eventually(lambda: ingress.details()["faults"] == ["kafka"])
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"
        assert "3 partitions" in ingress.details()["waiting_for"]["kafka"]
        assert ingress.get("/readyz").json() == {"status": "degraded"}
        topics.faults = []
        eventually(lambda: keys(ingress.kafka) == ["kept"])


def break_disk(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Make commits fail while the list says so."""
    broken = [True]
    append = SpoolFile.append
    remember = SpoolFile.remember

    def refuse(function):
        def maybe(self, *args):
            if broken[0]:
                raise sqlite3.OperationalError("database or disk is full")
            return function(self, *args)

        return maybe

    monkeypatch.setattr(SpoolFile, "append", refuse(append))
    monkeypatch.setattr(SpoolFile, "remember", refuse(remember))
    return broken


def test_what_neither_kafka_nor_the_disk_takes_is_answered_503(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    broken = break_disk(monkeypatch)
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        answer = ingress.post(message("lost"))
        assert answer.status_code == 503
        assert answer.headers["content-type"] == "application/problem+json"
        assert int(answer.headers["retry-after"]) > 0
        assert answer.json()["reason"] == "not_stored"
        assert "event_id" not in answer.json()
        assert ingress.get("/readyz").status_code == 503
        assert ingress.get("/readyz").json() == {"status": "unready"}
        # An entity that is refused is not claimed to be kept either.
        assert ingress.post({"entity": "x"}).json()["reason"] == "not_stored"
        broken[0] = False
        eventually(lambda: ingress.get("/readyz").status_code == 200)
        assert ingress.post(message("kept")).json()["disposition"] == "spooled"


def test_a_503_says_that_kafka_may_have_the_event_nevertheless(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka = FakeKafka()
    break_disk(monkeypatch)
    with running_ingress(tmp_path, kafka=kafka, deadline_s=0.2) as ingress:
        kafka.stop_answering()
        answer = ingress.post(message("late"))
        assert (answer.status_code, answer.json()["reason"]) == (503, "not_stored")
        assert "Kafka may have the event" in answer.json()["detail"]
        kafka.answer()
        eventually(lambda: keys(kafka) == ["late"])


def test_a_failure_of_kafka_does_not_count_for_ever_while_the_disk_is_full(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Nothing is sent to an ingress that is not ready, so that nothing could show that Kafka is well again."""
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    break_disk(monkeypatch)
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        assert ingress.post(message("lost")).status_code == 503
        assert ingress.get("/readyz").status_code == 503
        monkeypatch.setattr(keeper, "_FAILURE_COUNTS_S", 0.0)
        assert ingress.get("/readyz").status_code == 200
        assert "_MSG_TIMED_OUT" in ingress.details()["last_publish_failure"]


def test_a_full_disk_does_not_matter_while_kafka_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    break_disk(monkeypatch)
    with running_ingress(tmp_path) as ingress:
        assert ingress.post(message()).json()["disposition"] == "published"
        assert ingress.get("/readyz").status_code == 200


def test_a_full_spool_is_answered_503_and_takes_events_again_when_there_is_room(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, spool_max_bytes=1024 * 1024) as ingress:
        answers = [ingress.post(message(str(number), content="x" * 200_000)) for number in range(8)]
        assert [answer.status_code for answer in answers] == [202] * 5 + [503] * 3
        assert answers[-1].json()["reason"] == "not_stored"
        assert ingress.get("/readyz").status_code == 503
        assert ingress.service.spool.size <= 1024 * 1024
        assert ingress.metric("bridge_spool_max_bytes") == 1024 * 1024
        assert ingress.metric("bridge_spool_bytes") > 0.7 * 1024 * 1024
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
        assert ingress.get("/readyz").status_code == 200
        assert ingress.post(message("room")).status_code == 202
    assert (sorted(keys(kafka)[:-1]), keys(kafka)[-1]) == (["0", "1", "2", "3", "4"], "room")


def test_a_disk_that_hangs_is_not_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    hanging = threading.Event()
    append = SpoolFile.append

    def hang(self, events):
        hanging.wait(10)
        return append(self, events)

    monkeypatch.setattr(SpoolFile, "append", hang)
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        started = time.monotonic()
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(ingress.post, [message("1"), message("2")]))
        assert time.monotonic() - started < 5
        assert {answer.status_code for answer in answers} == {503}
        hanging.set()


def test_many_waiting_requests_share_a_commit(tmp_path: Path):
    kafka = FakeKafka()
    kafka.stop_answering()
    with running_ingress(tmp_path, kafka=kafka, deadline_s=2) as ingress:
        with ThreadPoolExecutor(40) as pool:
            answers = list(pool.map(ingress.post, [message(str(number)) for number in range(40)]))
        assert {answer.json()["disposition"] for answer in answers} == {"spooled"}
        assert ingress.metric("bridge_spool_commit_seconds_count") < 20


def test_what_is_spooled_survives_a_restart(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        sent = [str(number) for number in range(5)]
        for key in sent:
            ingress.post(message(key))
    kafka.verdict = lambda _: None
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message("after"))
        eventually(lambda: ingress.service.spool.events == 0)
    assert keys(kafka) == [*sent, "after"]


def test_at_the_end_requests_in_flight_are_finished(tmp_path: Path):
    kafka = FakeKafka()
    kafka.stop_answering()
    answers = []
    with running_ingress(tmp_path, kafka=kafka, deadline_s=0.5) as ingress:
        sender = threading.Thread(target=lambda: answers.append(ingress.post(message())))
        sender.start()
        eventually(lambda: ingress.service.ingress.in_progress == 1)
        ingress.stop()
        sender.join()
    assert answers[0].json()["disposition"] == "spooled"


def test_the_spool_is_readable_by_its_owner_only(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message())
        files = list(ingress.spool_directory.iterdir())
        assert {file.name for file in files} >= {"spool-0.db", "spool-0.db-wal", "spool-0.lock"}
        assert {oct(file.stat().st_mode & 0o777) for file in files} == {"0o600"}
        assert ingress.spool_directory.stat().st_mode & 0o777 == 0o700


def test_an_answer_that_cannot_be_given_keeps_nobody_else_from_theirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    kafka = FakeKafka()
    kafka.stop_answering()
    body = json.dumps(message("faulty")).encode()
    head = (
        f"POST /webhooks HTTP/1.1\r\nHost: bridge\r\nAuthorization: Bearer {TOKEN}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    with (
        running_ingress(tmp_path, kafka=kafka, deadline_s=4) as ingress,
        ThreadPoolExecutor(2) as senders,
        socket.create_connection(ingress.service_address) as faulty,
    ):
        original = WebhookProtocol._respond

        def respond(protocol, cycle, answer) -> None:
            if b'"id":"faulty"' in answer.body:
                protocol.transport.close()
                raise RuntimeError("no answer for this one")
            original(protocol, cycle, answer)

        monkeypatch.setattr(WebhookProtocol, "_respond", respond)
        # Trap: in one segment. What comes in parts, as httpx sends it, may be answered by the ASGI application.
        faulty.sendall(head.encode() + body)
        eventually(lambda: ingress.service.ingress.in_progress == 1)
        others = [senders.submit(ingress.post, message(key)) for key in ("one", "other")]
        eventually(lambda: ingress.service.ingress.in_progress == 3)
        kafka.answer()
        assert [each.result().json()["disposition"] for each in others] == ["published", "published"]
        assert faulty.recv(1) == b""
        eventually(lambda: ingress.service.ingress.in_progress == 0)
