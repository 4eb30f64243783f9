"""Stands before a registry, and answers in its place what a test wants. Imports nothing of the project."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import httpx

#: Status and content of an answer; None: what the registry behind it answers.
Answer = tuple[int, bytes] | None


class Proxy:
    """Stands before the registry and answers as `answer` says."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.answer: Callable[[str, str], Answer] = lambda _method, _path: None


@contextmanager
def proxy(registry: str) -> Iterator[Proxy]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            answer = opened.answer(self.command, self.path)
            if answer is None:
                kept = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
                url = registry + self.path
                try:
                    given = client.request(self.command, url, content=body, headers=kept)
                    answer = given.status_code, given.content
                except httpx.TransportError:
                    answer = 502, b"<html>Bad Gateway</html>"
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 the names that the base class looks for

        def log_message(self, *_: object) -> None:
            pass

    with (
        httpx.Client(timeout=10, trust_env=False) as client,
        ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server,
    ):
        opened = Proxy(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield opened
        finally:
            server.shutdown()
            thread.join()


def with_id(schema_id: Any) -> Answer:
    """Return what a registry answers when a schema is looked up."""
    return 200, json.dumps({"subject": "s", "version": 1, "id": schema_id, "schema": '"string"'}).encode()


NONSENSE: dict[str, Answer] = {
    "an empty object": (200, b"{}"),
    "an id that is a text": with_id("seven"),
    "a negative id": with_id(-1),
    "a huge id": with_id(2**40),
    "an id that is a fraction": with_id(1.5),
    "an id that is true": with_id(not 0),
    "no id": with_id(None),
    "a list": (200, b"[]"),
    "a page": (200, b"<html>Welcome to nginx</html>"),
    "nothing": (200, b""),
    "a page with 404": (404, b"<html>404 Not Found</html>"),
    "a gateway's 404": (404, b'{"message":"no Route matched with those values"}'),
    "the 404 of a wrong path": (404, b'{"error_code":404,"message":"HTTP 404 Not Found"}'),
    "a login page": (302, b""),
    "a broken gateway": (502, b"<html>Bad Gateway</html>"),
}
