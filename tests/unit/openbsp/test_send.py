"""`bridge send` does what OpenBSP's sender does."""

import asyncio
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bridge import cli
from openbsp.send import BATCH, Payload, send


class Receiver(ThreadingHTTPServer):
    """Answers `status` to each request and remembers it; with a `barrier`, when that lets it through."""

    daemon_threads = True
    request_queue_size = 500

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 202
        self.requests = []
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()
        self.barrier = None

    def handle_error(self, *_):
        """Ignore clients that gave up."""

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        server = self.server
        body = self.rfile.read(int(self.headers["Content-Length"]))
        with server.lock:
            server.requests.append((self.path, dict(self.headers), body))
            server.at_once += 1
            server.most_at_once = max(server.most_at_once, server.at_once)
        if server.barrier is not None:
            server.barrier.wait(30)
        with server.lock:
            server.at_once -= 1
        self.send_response(server.status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_):
        pass


@pytest.fixture
def receiver():
    with Receiver() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def collect(payloads, url, token="token"):
    async def answers():
        return [answer async for answer in send(payloads, url, token)]

    return asyncio.run(answers())


@pytest.fixture
def run(monkeypatch, capsys):
    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["bridge", "send", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return ended.value.code or 0, capsys.readouterr().out

    return call


def test_requests_look_like_those_of_pg_net(receiver):
    (answer,) = collect([Payload("one", b'{"data": {}}')], receiver.url, "my-token")
    ((path, headers, body),) = receiver.requests
    assert (path, body) == ("/webhooks", b'{"data": {}}')
    assert headers["Content-Type"] == "application/json"
    assert headers["Authorization"] == "Bearer my-token"
    assert headers["User-Agent"].startswith("pg_net/")
    assert answer.accepted
    assert (answer.payload, answer.status, answer.text) == ("one", 202, "{}")


def test_up_to_200_requests_are_under_way_at_once(receiver):
    receiver.barrier = threading.Barrier(BATCH)
    answers = collect([Payload(str(number), b"{}") for number in range(2 * BATCH)], receiver.url)
    assert receiver.most_at_once == BATCH
    assert [answer.payload for answer in answers] == [str(number) for number in range(2 * BATCH)]


def test_a_refused_event_is_not_sent_again(receiver):
    receiver.status = 503
    (answer,) = collect([Payload("one", b"{}")], receiver.url)
    assert (answer.status, answer.accepted) == (503, False)
    assert len(receiver.requests) == 1


def test_no_answer_in_time_is_an_answer_without_a_status(receiver, monkeypatch):
    monkeypatch.setattr("openbsp.send._TIMEOUT_S", 0.1)
    receiver.barrier = threading.Barrier(2)
    (answer,) = collect([Payload("one", b"{}")], receiver.url)
    receiver.barrier.wait(30)
    assert answer.status is None
    assert not answer.accepted
    assert "Timeout" in answer.text


def test_nobody_there_is_an_answer_without_a_status(unused_port):
    (answer,) = collect([Payload("one", b"{}")], f"http://127.0.0.1:{unused_port}")
    assert answer.status is None
    assert "ConnectError" in answer.text


def test_each_file_is_sent_as_often_as_asked_for_and_each_answer_is_printed(receiver, run, tmp_path):
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    for file in files:
        file.write_bytes(file.name.encode())
    status, out = run(*files, "--url", f"{receiver.url}/", "--token", "t", "--repeat", "3", "--shuffle")
    assert status == 0
    assert sorted(body for _, _, body in receiver.requests) == [b"a.json"] * 3 + [b"b.json"] * 3
    assert [line.count(": 202 in ") for line in out.splitlines()] == [1] * 6


def test_one_refused_file_makes_the_exit_code_1(receiver, run, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(b"{}")
    receiver.status = 422
    status, out = run(file, "--url", receiver.url, "--token", "t")
    assert status == 1
    assert ": 422 in " in out
