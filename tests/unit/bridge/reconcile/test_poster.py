"""Repairs go the way of webhooks, and can be told from them at its end."""

from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from avro.codec import Decoder
from avro.schemas import latest
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.poster import Poster, Repair
from support.fake_kafka import IDS, FakeKafka
from support.ingress import BOUND_TOKEN, TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

RECORDS = {"messages": "MessageEvent", "conversations": "ConversationEvent"}


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path, kafka=FakeKafka(), deadline_s=0.2, max_body_bytes=4096) as running:
        yield running


def marks(ingress: RunningIngress) -> list[tuple[str, bool, bytes | None]]:
    """Return of each record its key, its field `reconciled` and the header."""
    found = []
    for entity, name in RECORDS.items():
        decoder = Decoder(name)
        decoder.learn(IDS[name], latest(name).text)
        for record in ingress.kafka.topic(entity):
            mark = dict(record.headers).get("ce_reconciled")
            found.append((record.key.decode(), decoder.decode(record.value)["reconciled"], mark))
    return found


def post(
    ingress: RunningIngress, *repairs: Repair, token: str = TOKEN, patience_s: float = 5.0
) -> list[tuple[bool, str]]:
    with Poster(ingress.url, token, patience_s=patience_s) as poster:
        return [(receipt.accepted, receipt.answer) for receipt in poster.post(repairs)]


def test_repairs_are_marked_and_webhooks_are_not(ingress: RunningIngress):
    ingress.post(message("told"))
    assert (
        post(
            ingress,
            Repair("messages", "update", {"id": "m1", "organization_id": "o", "conversation_id": "c"}),
            Repair("conversations", "update", {"id": "c1", "organization_id": "o"}),
            Repair("messages", "delete", {"id": "m2", "organization_id": "o"}),
        )
        == [(True, "published")] * 3
    )
    assert sorted(marks(ingress)) == [
        ("c1", True, b"true"),
        ("m1", True, b"true"),
        ("m2", True, b"true"),
        ("told", False, None),
    ]


def test_the_mark_survives_the_spool(ingress: RunningIngress):
    ingress.kafka.stop_answering()
    assert post(ingress, Repair("messages", "update", {"id": "m1", "organization_id": "o"})) == [(True, "spooled")]
    ingress.kafka.answer()
    eventually(lambda: marks(ingress))
    assert set(marks(ingress)) == {("m1", True, b"true")}


def test_what_the_bridge_cannot_use_is_named_and_ends_nothing(ingress: RunningIngress):
    assert post(
        ingress,
        Repair("messages", "update", {"id": 1}),
        Repair("logs", "update", {"id": "l1"}),
        Repair("messages", "update", {"id": "m1", "organization_id": "o", "content": "x" * 10_000}),
        Repair("messages", "update", {"id": "m2", "organization_id": "o"}),
    ) == [(False, "invalid_event"), (False, "unsupported_entity"), (False, "too_large"), (True, "published")]


def test_a_token_that_is_not_accepted_ends_it(ingress: RunningIngress):
    row = {"id": "m1", "organization_id": "another"}
    for token in ("wrong", BOUND_TOKEN):
        with pytest.raises(ReconcileError, match="check RECONCILE_BRIDGE_TOKEN"):
            post(ingress, Repair("messages", "update", row), token=token)


def post_to(status: int, answer: bytes) -> list[tuple[bool, str]]:
    """Post a repair to a server that answers so."""

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: object) -> None: ...

    with HTTPServer(("127.0.0.1", 0), Server) as server:
        thread = Thread(target=server.handle_request)
        thread.start()
        try:
            with Poster(f"http://127.0.0.1:{server.server_port}", TOKEN, patience_s=0) as poster:
                receipts = poster.post([Repair("messages", "update", {"id": "m"})])
                return [(receipt.accepted, receipt.answer) for receipt in receipts]
        finally:
            thread.join()


def test_a_refusal_with_a_dead_letter_is_of_this_row_alone_also_for_a_reason_of_another_version():
    assert post_to(422, b'{"reason": "of_the_future", "event_id": "e"}') == [(False, "of_the_future")]
    with pytest.raises(ReconcileError, match="answered of_the_future: check RECONCILE_BRIDGE_TOKEN"):
        post_to(422, b'{"reason": "of_the_future"}')


def test_something_else_at_the_address_is_no_bridge():
    with pytest.raises(ReconcileError, match="is a bridge at"):
        post_to(200, b"ok")


def test_a_bridge_that_is_away_is_waited_for_and_then_given_up():
    waits: list[float] = []
    with (
        Poster("http://127.0.0.1:9", TOKEN, patience_s=0, sleep=waits.append) as poster,
        pytest.raises(ReconcileError, match=r"takes no repairs: .*ConnectError"),
    ):
        list(poster.post([Repair("messages", "update", {"id": "m"})]))
