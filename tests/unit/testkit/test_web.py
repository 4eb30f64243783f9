"""HTTP of the standard library: answers of every framing, errors as such, and never a proxy."""

import asyncio
import http.server
import threading

import pytest

from openbsp_testkit import web


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer(self.path.encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/cut":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        elif self.path == "/chunks":
            self.wfile.write(b"HTTP/1.1 202 Accepted\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        elif self.path == "/silent":
            self.server.released.wait(30)
        else:
            self._answer(body)
        self.close_connection = True

    def _answer(self, body: bytes) -> None:
        self.send_response(202 if body else 404)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("X-Agent", self.headers.get("User-Agent", ""))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def url(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.released.set()
        server.shutdown()
        thread.join()


def post(url: str, body: bytes = b"{}", *, seconds: float = 30) -> web.Response:
    return asyncio.run(web.post(url, body, headers={"User-Agent": "pg_net/1"}, timeout=seconds))


def test_a_request_has_its_path_and_headers(url):
    answer = web.get(f"{url}/a/b?c=%20", headers={"User-Agent": "me"})
    assert (answer.status_code, answer.text, answer.headers["x-agent"]) == (202, "/a/b?c=%20", "me")
    assert answer.is_success


def test_a_body_goes_and_comes_byte_for_byte(url):
    body = "ñ".encode() * 100_000
    answer = post(f"{url}/webhooks", body)
    assert (answer.content, answer.headers["x-agent"]) == (body, "pg_net/1")
    assert not post(f"{url}/webhooks", b"").is_success


def test_chunks_are_put_together(url):
    assert post(f"{url}/chunks").text == "abc"


@pytest.mark.parametrize(("path", "seconds"), [("/cut", 30), ("/silent", 0.2)])
def test_half_an_answer_or_none_is_an_error(url, path, seconds):
    with pytest.raises(web.TransportErrors):
        post(url + path, seconds=seconds)


def test_nobody_there_is_an_error(unused_port):
    for ask in (web.get, post):
        with pytest.raises(web.TransportErrors):
            ask(f"http://127.0.0.1:{unused_port}/")
