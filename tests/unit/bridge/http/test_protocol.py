"""Requests on the wire: however their bytes are cut up and strung together, each has its answer, in its order."""

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import uvicorn
from httptools import HttpParserCallbackError
from prometheus_client import CollectorRegistry
from uvicorn.server import ServerState

from bridge.http.known_heads import KnownHeads
from bridge.http.protocol import WebhookProtocol
from openbsp.http import problems, refusals
from openbsp.http.connections import MAX_HEAD_BYTES, Connections, Limits
from openbsp.metrics import ServiceMetrics
from support.ingress import TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

Answers = list[tuple[int, dict[str, str], dict]]


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path_factory.mktemp("ingress"), deadline_s=2.0) as running:
        yield running


@pytest.fixture
def client(ingress: RunningIngress) -> Iterator[socket.socket]:
    with socket.create_connection(ingress.service_address) as connection:
        connection.settimeout(5)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield connection


def request(key: str, *headers: str, token: str = TOKEN) -> bytes:
    body = json.dumps(message(key)).encode()
    head = [
        "POST /webhooks HTTP/1.1",
        "Host: x",
        "Content-Type: application/json",
        f"Authorization: Bearer {token}",
        f"Content-Length: {len(body)}",
        *headers,
    ]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def chunked(key: str, trailers: bytes = b"") -> bytes:
    body = json.dumps(message(key)).encode()
    head = (
        b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n"
        b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
    )
    parts = b"".join(b"%x\r\n%b\r\n" % (1, body[at : at + 1]) for at in range(len(body)))
    return head + parts + b"0\r\n" + trailers + b"\r\n"


def answers(client: socket.socket, count: int) -> Answers:
    """Return so many answers, or fewer if the connection ends."""
    found: Answers = []
    with client.makefile("rb") as stream:
        while len(found) < count and (status := stream.readline()):
            headers = {}
            while (line := stream.readline().decode().strip()) != "":
                name, _, value = line.partition(": ")
                headers[name.lower()] = value
            body = stream.read(int(headers["content-length"]))
            found.append((int(status.split()[1]), headers, json.loads(body)))
    return found


@pytest.mark.parametrize("size", [1, 7, 100])
def test_a_request_in_pieces(client: socket.socket, size: int):
    sent = request(f"pieces of {size}")
    for at in range(0, len(sent), size):
        client.sendall(sent[at : at + size])
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, f"pieces of {size}")


def test_one_after_the_other_on_a_connection(client: socket.socket):
    for number in range(5):
        client.sendall(request(f"turn {number}"))
        ((status, headers, receipt),) = answers(client, 1)
        assert (status, receipt["id"]) == (202, f"turn {number}")
        assert "connection" not in headers


def test_many_at_once_on_a_connection_are_answered_in_their_order(client: socket.socket):
    """Also those that are refused without waiting for anything."""
    tokens = {number: "wrong-wrong-wrong-wrong" if number % 3 == 0 else TOKEN for number in range(200)}
    client.sendall(b"".join(request(f"pipelined {number}", token=token) for number, token in tokens.items()))
    found = answers(client, len(tokens))
    assert [status for status, _, _ in found] == [202 if token == TOKEN else 401 for token in tokens.values()]
    ids = [receipt["id"] for status, _, receipt in found if status == 202]
    assert ids == [f"pipelined {number}" for number, token in tokens.items() if token == TOKEN]


def test_a_webhook_between_other_requests(client: socket.socket):
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"
    client.sendall(health + request("between") + health)
    assert [status for status, _, _ in answers(client, 3)] == [200, 202, 200]


def test_a_client_that_wants_the_end_gets_it(client: socket.socket):
    client.sendall(request("last", "Connection: close"))
    ((status, headers, _),) = answers(client, 2)
    assert (status, headers["connection"]) == (202, "close")


def test_a_chunked_body(client: socket.socket):
    client.sendall(chunked("chunked"))
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, "chunked")


def test_headers_after_a_chunked_body_are_not_kept(client: socket.socket):
    client.sendall(chunked("trailers", b"X-Trailer: y\r\n" * 1_000))
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, "trailers")


@pytest.mark.parametrize("line", [b"X-Long: " + b"y" * 1000 + b"\r\n", b"X: y\r\n"])
def test_a_head_without_end_is_refused(ingress: RunningIngress, client: socket.socket, line: bytes):
    client.sendall(b"POST /webhooks HTTP/1.1\r\nHost: x\r\n")
    sent = 0
    try:
        while sent < 100 * MAX_HEAD_BYTES:
            client.sendall(line * 100)
            sent += len(line) * 100
    except ConnectionError:
        pass
    assert sent < 100 * MAX_HEAD_BYTES
    eventually(lambda: ingress.post(message("after a long head")).status_code == 202)


def test_headers_without_end_after_a_chunked_body_are_refused(ingress: RunningIngress, client: socket.socket):
    before = ingress.kafka.attempts
    client.sendall(chunked("endless trailer", b"X: ")[:-2])
    eventually(lambda: ingress.service.ingress.in_progress == 1)
    client.sendall(b"y" * (MAX_HEAD_BYTES + 1))
    ((status, _, problem),) = answers(client, 1)
    assert (status, problem["reason"]) == (431, "head_too_large")
    assert ingress.kafka.attempts == before


def test_the_beginning_of_a_head_behind_a_long_body_is_no_long_head(client: socket.socket):
    body = b"x" * (2 * MAX_HEAD_BYTES)
    client.sendall(b"PUT /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body))
    client.sendall(body + b"GET /healthz HTTP/1.1\r\nHo")
    ((status, _, _),) = answers(client, 1)
    client.sendall(b"st: x\r\n\r\n")
    assert [status, *(status for status, _, _ in answers(client, 1))] == [405, 200]


def test_what_is_not_http_is_no_answer_to_the_webhook_before_it(ingress: RunningIngress, client: socket.socket):
    ingress.kafka.stop_answering()
    try:
        client.sendall(request("before nonsense"))
        eventually(lambda: ingress.service.ingress.in_progress == 1)
        client.sendall(b"\x16\x03\x01 nonsense\r\n\r\n")
        assert answers(client, 1) == []
    finally:
        ingress.kafka.answer()
    eventually(lambda: ingress.service.ingress.in_progress == 0)


def test_the_refusal_of_a_long_head_says_why(client: socket.socket):
    client.sendall(b"GET /" + b"x" * (MAX_HEAD_BYTES + 1))
    ((status, headers, problem),) = answers(client, 1)
    assert (status, problem["reason"]) == (431, "head_too_large")
    assert headers["content-type"] == "application/problem+json"


def test_what_is_not_http_is_told_so(client: socket.socket):
    client.sendall(b"\x16\x03\x01 this is TLS, perhaps\r\n\r\n")
    ((status, headers, problem),) = answers(client, 1)
    assert (status, problem["reason"]) == (400, "malformed_request")
    assert headers["content-type"] == "application/problem+json"


H2C = (
    "Connection: Upgrade, HTTP2-Settings",
    "Upgrade: h2c",
    "HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA",
)


@pytest.mark.parametrize("size", [1, 50, 10_000])
@pytest.mark.parametrize("more", [(), ("Connection: keep-alive",)])
def test_an_upgrade_is_ignored_and_its_body_is_not_lost(client: socket.socket, more: tuple, size: int):
    """Java's HttpClient asks for HTTP/2 with its first request, and goes on with HTTP/1.1 if nobody agrees."""
    for turn in range(2):
        sent = request(f"upgrade {turn}", *H2C, *more)
        for at in range(0, len(sent), size):
            client.sendall(sent[at : at + size])
        ((status, headers, receipt),) = answers(client, 1)
        assert (status, receipt["id"]) == (202, f"upgrade {turn}")
        assert "upgrade" not in headers


def test_a_client_that_takes_this_for_a_proxy_hangs_nothing(ingress: RunningIngress, client: socket.socket):
    client.sendall(b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n")
    ((status, _, problem),) = answers(client, 1)
    assert (status, problem["reason"]) == (400, "malformed_request")
    assert ingress.get("/healthz").status_code == 200


def test_what_a_refused_client_goes_on_to_send_counts_for_nothing(ingress: RunningIngress, client: socket.socket):
    memory = ingress.service.ingress.memory
    eventually(lambda: memory.held == 0)
    head = b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 2000000\r\n\r\n"
    client.sendall(head + b"x" * 200_000)
    ((status, _, _),) = answers(client, 1)
    assert status == 401
    eventually(lambda: memory.held == 0)
    client.sendall(b"x" * 1_799_999)
    # What was read before is known to be read when another request is answered after it.
    assert ingress.get("/healthz").status_code == 200
    assert memory.held == 0
    client.sendall(b"x" + request("after it"))
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, "after it")


def test_what_comes_behind_an_upgrade_is_answered_as_well(client: socket.socket):
    health = b"GET /healthz HTTP/1.1\r\nHost: x\r\n" + "\r\n".join(H2C).encode() + b"\r\n\r\n"
    client.sendall(health + request("first", *H2C) + request("second", *H2C) + health + request("third"))
    found = answers(client, 5)
    assert [status for status, _, _ in found] == [200, 202, 202, 200, 202]
    assert [receipt["id"] for status, _, receipt in found if status == 202] == ["first", "second", "third"]


def test_a_chunked_body_behind_an_upgrade(client: socket.socket):
    client.sendall(chunked("chunked").replace(b"Host: x\r\n", b"Host: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n"))
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, "chunked")


def test_nonsense_behind_an_upgrade_ends_the_connection(client: socket.socket):
    client.sendall(
        b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n\x16\x03\x01 nonsense\r\n\r\n"
    )
    assert len(answers(client, 2)) <= 1, "the connection has ended"


@pytest.mark.parametrize("count", [1, 3])
def test_a_client_that_ends_its_side_after_its_requests_gets_the_answers(
    ingress: RunningIngress, client: socket.socket, count: int
):
    ingress.kafka.stop_answering()
    try:
        client.sendall(b"".join(request(f"half {number}") for number in range(count)))
        client.shutdown(socket.SHUT_WR)
        eventually(lambda: ingress.service.ingress.in_progress >= 1)
    finally:
        ingress.kafka.answer()
    found = answers(client, count + 1)
    print(f"\nfigure: unanswered: {count - len(found)} of {count} of a client that had ended its side")
    assert [(status, receipt["id"]) for status, _, receipt in found] == [(202, f"half {n}") for n in range(count)]
    eventually(lambda: ingress.service.ingress.in_progress == 0)


def test_a_client_that_ends_its_side_within_a_body_is_gone(ingress: RunningIngress, client: socket.socket):
    client.sendall(request("torn")[:-5])
    client.shutdown(socket.SHUT_WR)
    assert answers(client, 1) == []
    eventually(lambda: ingress.service.ingress.in_progress == 0)
    assert ingress.service.ingress.memory.held == 0


@pytest.mark.parametrize("count", [1, 2, 5])
def test_requests_before_the_one_within_which_a_client_ends_its_side_are_answered(
    ingress: RunningIngress, client: socket.socket, count: int
):
    ingress.kafka.stop_answering()
    try:
        client.sendall(b"".join(request(f"whole {number}") for number in range(count)) + request("torn")[:-5])
        client.shutdown(socket.SHUT_WR)
        eventually(lambda: ingress.service.ingress.in_progress >= 1)
    finally:
        ingress.kafka.answer()
    found = answers(client, count + 1)
    assert [(status, receipt["id"]) for status, _, receipt in found] == [(202, f"whole {n}") for n in range(count)]
    eventually(lambda: ingress.service.ingress.in_progress == 0)
    assert ingress.service.ingress.memory.held == 0


def test_a_length_may_begin_with_any_number_of_zeros(client: socket.socket):
    client.sendall(request("zeros").replace(b"Content-Length: ", b"Content-Length: " + b"0" * 5000))
    ((status, _, receipt),) = answers(client, 1)
    assert (status, receipt["id"]) == (202, "zeros")


def test_a_client_that_is_gone_before_the_answer_does_no_harm(ingress: RunningIngress):
    ingress.kafka.stop_answering()
    try:
        with socket.create_connection(ingress.service_address) as client:
            client.sendall(request("gone"))
            eventually(lambda: ingress.service.ingress.in_progress == 1)
    finally:
        ingress.kafka.answer()
    eventually(lambda: ingress.service.ingress.in_progress == 0)
    assert [record.key for record in ingress.kafka.topic("messages")].count(b"gone") == 1
    assert ingress.post(message("after it")).status_code == 202


class Unread(asyncio.Transport):
    """To a client that reads nothing."""

    reading = True
    closed = False
    written = 0

    def write(self, data: bytes) -> None:
        self.written += len(data)

    def write_eof(self) -> None:
        """Nothing is written any more."""

    def close(self) -> None:
        self.closed = True

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True


class Refusing:
    """An application that refuses every webhook at once."""

    memory = SimpleNamespace(add=lambda _: None, give=lambda _: None)
    known_heads = KnownHeads()

    @property
    def webhooks(self) -> "Refusing":
        return self

    def answer(self, _scope, _body, respond) -> None:
        respond(problems.problem(refusals.UNAUTHORIZED, "no"))

    async def __call__(self, _scope, _receive, send) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})


def guarding() -> Connections:
    return Connections(Limits(10, 5, 5), ServiceMetrics(CollectorRegistry(), "tests"))


def connected(transport: Unread, guard: Connections | None = None) -> WebhookProtocol:
    config = uvicorn.Config(Refusing(), interface="asgi3", lifespan="off", log_config=None, ws="none")
    config.load()
    config.loaded_app = Refusing()
    protocol = WebhookProtocol(guard or guarding(), config, ServerState(), {})
    protocol.connection_made(transport)
    return protocol


def unreadable(protocol: WebhookProtocol) -> float:
    return protocol._guard.metrics.unreadable_requests.labels("malformed_request")._value.get()


def test_what_is_no_request_on_a_half_closed_connection_ends_it():
    """There is no way left to answer, and uvloop raises for one."""

    async def scenario() -> None:
        transport = Unread()
        protocol = connected(transport)
        protocol.half_close()
        protocol.data_received(b"\x16\x03\x01 no request\r\n\r\n")
        assert transport.closed
        assert transport.written == 0
        assert unreadable(protocol) == 1

    asyncio.run(scenario())


def test_a_fault_of_ours_is_not_told_as_the_clients(monkeypatch: pytest.MonkeyPatch):
    """It is logged with its trace by the loop, which ends the connection."""
    monkeypatch.setattr(WebhookProtocol, "on_headers_complete", lambda _: {}["ours"])

    async def scenario() -> None:
        protocol = connected(Unread())
        with pytest.raises(HttpParserCallbackError) as raised:
            protocol.data_received(request("read").replace(b"POST", b"PUT"))
        assert isinstance(raised.value.__context__, KeyError)
        assert unreadable(protocol) == 0

    asyncio.run(scenario())


def test_scanners_do_not_hide_a_sender_that_speaks_tls(caplog: pytest.LogCaptureFixture):
    async def scenario() -> None:
        guard = guarding()
        for sent in [*[b"no request\r\n\r\n"] * 20, b"\x16\x03\x01", *[b"no request\r\n\r\n"] * 5]:
            connected(Unread(), guard).data_received(sent)

    asyncio.run(scenario())
    told = [record.getMessage() for record in caplog.records]
    assert len([one for one in told if "a TLS handshake" in one]) == 1
    assert len(told) == 11


def test_a_client_that_does_not_read_its_answers_is_not_read_any_more():
    """Else their number would be without limit."""

    async def scenario() -> None:
        transport = Unread()
        protocol = connected(transport)
        protocol.data_received(request("read"))
        assert transport.written
        protocol.pause_writing()
        written = transport.written
        for _ in range(3):
            protocol.data_received(request("unread"))
        await asyncio.sleep(0)
        assert (transport.reading, transport.written) == (False, written)
        protocol.resume_writing()

    asyncio.run(scenario())


def test_a_request_that_is_cancelled_counts_no_more(ingress: RunningIngress):
    """As uvicorn does with what takes too long at its end, whether the body is missing or the acknowledgement."""
    before = ingress.service.ingress.in_progress
    body = json.dumps(message("cancelled")).encode()

    async def cancel(*, with_body: bool) -> None:
        async def receive() -> dict:
            if not with_body:
                await asyncio.Event().wait()
            return {"type": "http.request", "body": body}

        async def send(_: object) -> None: ...

        headers = [(b"authorization", b"Bearer " + TOKEN.encode()), (b"content-type", b"application/json")]
        scope = {"method": "POST", "headers": headers, "client": None}
        task = asyncio.ensure_future(ingress.service.ingress(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    ingress.kafka.stop_answering()
    loop = ingress.service.failed.get_loop()
    for with_body in (False, True):
        asyncio.run_coroutine_threadsafe(cancel(with_body=with_body), loop).result(5)
    ingress.kafka.answer()
    eventually(lambda: ingress.service.ingress.in_progress == before)
    assert ingress.post(message("after the cancelled")).status_code == 202
