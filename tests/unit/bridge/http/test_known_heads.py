"""A head that was parsed and admitted before needs no parser, and changes nothing of what becomes of its webhook."""

import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from bridge.http.protocol import WebhookProtocol
from openbsp.http import fast_path
from openbsp.http.tokens.token_set import new_token
from support.ingress import TOKEN, RunningIngress, message, running_ingress
from support.parsed import parsed_by
from support.wait import eventually


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path) as running:
        yield running


@pytest.fixture
def client(ingress: RunningIngress) -> Iterator[socket.socket]:
    with socket.create_connection(ingress.service_address) as connection:
        connection.settimeout(5)
        yield connection


@pytest.fixture
def parsed(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    return parsed_by(WebhookProtocol, monkeypatch)


def request(key: str, *headers: str, token: str = TOKEN) -> bytes:
    """Return a request whose head is the same for keys of one length."""
    body = json.dumps(message(key)).encode()
    lines = [
        "POST /webhooks HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def answer(client: socket.socket) -> tuple[bytes, list[str], dict]:
    """Return status line, names of headers and body of the next answer, and leave what comes after it."""
    with client.makefile("rb", buffering=0) as stream:
        status = stream.readline()
        headers = {}
        while line := stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = b""
        while len(body) < int(headers["content-length"]):
            body += stream.read(int(headers["content-length"]) - len(body))
        return status, list(headers), json.loads(body)


def test_the_second_of_two_alike_is_not_parsed_and_answered_alike(
    ingress: RunningIngress, client: socket.socket, parsed: list[bytes]
):
    answers = []
    for key in ("one", "two"):
        client.sendall(request(key))
        answers.append(answer(client))
    assert len(parsed) == 1
    (first, second) = answers
    assert first[:2] == second[:2]
    assert second[2] == {**first[2], "id": "two", "event_id": second[2]["event_id"], "offset": 1}
    assert [record.key for record in ingress.kafka.topic("messages")] == [b"one", b"two"]
    line = ingress.line_of(second[2]["event_id"])
    assert {**line, "event_id": 0, "time": 0, "duration_ms": 0} == {
        **ingress.line_of(first[2]["event_id"]),
        "event_id": 0,
        "time": 0,
        "duration_ms": 0,
    }
    assert ingress.metric("bridge_webhooks_total", outcome="published") == 2


def test_whatever_comes_with_it_or_in_between_is_parsed(client: socket.socket):
    """A part of a request, two at once, another request, a line feed too many."""
    client.sendall(request("aaa"))
    ids = [answer(client)[2]["id"]]
    for sent, count in (
        ([request("bbb")[:-5], request("bbb")[-5:]], 1),
        ([request("ccc") + request("ddd")], 2),
        ([request("eee") + request("fff")[:40], request("fff")[40:]], 2),
        ([b"\r\n", request("ggg")], 1),
        ([request("hhh")], 1),
    ):
        for part in sent:
            client.sendall(part)
        ids += [answer(client)[2]["id"] for _ in range(count)]
    assert ids == [letter * 3 for letter in "abcdefgh"]


def test_while_an_answer_is_due_the_next_one_waits_for_its_turn(ingress: RunningIngress, client: socket.socket):
    client.sendall(request("one"))
    answer(client)
    ingress.kafka.stop_answering()
    client.sendall(request("two"))
    eventually(lambda: ingress.service.ingress.in_progress == 1)
    client.sendall(request("six"))
    ingress.kafka.answer()
    assert [answer(client)[2]["id"] for _ in range(2)] == ["two", "six"]


def test_a_client_that_ends_its_side_after_a_known_head_gets_its_answer(ingress: RunningIngress, client: socket.socket):
    client.sendall(request("one"))
    answer(client)
    ingress.kafka.stop_answering()
    client.sendall(request("two"))
    client.shutdown(socket.SHUT_WR)
    eventually(lambda: ingress.service.ingress.in_progress == 1)
    ingress.kafka.answer()
    assert answer(client)[2]["id"] == "two"
    assert client.recv(1) == b""


@pytest.mark.parametrize(
    "header",
    [
        "Connection: close",
        "Connection: close\r\nConnection: keep-alive",
        "Content-Encoding: identity",
        "Expect: 100-continue",
        "OpenBSP-Organizations: x",
        "OpenBSP-Reconciled: true",
        "OpenBSP-Redriven: 1",
        "Traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "Upgrade: h2c\r\nConnection: Upgrade",
        f"X-Long: {'x' * fast_path.MOST_BYTES}",
    ],
)
def test_a_head_that_says_more_is_parsed_each_time(ingress: RunningIngress, header: str):
    for key in ("one", "two"):
        with socket.create_connection(ingress.service_address) as client:
            client.settimeout(5)
            client.sendall(request(key, header))
            assert client.recv(1)
    assert len(ingress.service.ingress.known_heads) == 0


def test_what_is_not_admitted_is_not_known(ingress: RunningIngress):
    for sent in (
        request("one", token="wrong-wrong-wrong-wrong"),
        request("one").replace(b"application/json", b"text/plain"),
        request("one").replace(b"HTTP/1.1", b"HTTP/1.0"),
        request("one").replace(b"/webhooks", b"/elsewhere"),
    ):
        with socket.create_connection(ingress.service_address) as client:
            client.settimeout(5)
            client.sendall(sent)
            assert client.recv(1)
    assert len(ingress.service.ingress.known_heads) == 0


def test_a_revoked_token_is_refused_under_a_known_head(tmp_path: Path):
    file = tmp_path / "tokens"
    token, line = new_token("first")
    file.write_text(line)
    with (
        running_ingress(tmp_path, tokens=None, tokens_file=file) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(5)
        client.sendall(request("one", token=token))
        assert answer(client)[0].startswith(b"HTTP/1.1 202 ")
        assert len(ingress.service.ingress.known_heads) == 1
        file.write_text(new_token("other")[1])
        ingress.on_loop(ingress.service.access.reload)

        def refused() -> bool:
            client.sendall(request("two", token=token))
            return answer(client)[0].startswith(b"HTTP/1.1 401 ")

        eventually(refused)


def test_so_many_are_kept(monkeypatch: pytest.MonkeyPatch, ingress: RunningIngress, client: socket.socket):
    monkeypatch.setattr(fast_path, "_MOST_HEADS", 3)
    for length in range(1, 10):
        client.sendall(request("x" * length))
        assert answer(client)[2]["id"] == "x" * length
        assert len(ingress.service.ingress.known_heads) <= 3


def test_an_idle_connection_is_closed_and_one_that_waits_for_its_answer_is_not(tmp_path: Path):
    with (
        running_ingress(tmp_path, keep_alive_s=1) as ingress,
        socket.create_connection(ingress.service_address) as idle,
        socket.create_connection(ingress.service_address) as busy,
        socket.create_connection(ingress.service_address) as later,
    ):
        for client in (idle, busy, later):
            client.settimeout(30)
        for client in (idle, busy):
            for key in ("one", "two"):
                client.sendall(request(key))
                answer(client)
        ingress.kafka.stop_answering()
        busy.sendall(request("six"))
        later.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        answer(later)
        assert idle.recv(1) == b""
        assert later.recv(1) == b"", "by now the time of the busy one is over as well"
        ingress.kafka.answer()
        assert answer(busy)[2]["id"] == "six"
        assert busy.recv(1) == b""
