"""A proxy before a schema registry, whose answers a test can replace."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx

#: Status and content of an answer; None: what the registry behind it answers.
Answer = tuple[int, bytes] | None


class Proxy:
    """Stands before the registry and answers as `answer` says, which gets the method and the path."""

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
                given = httpx.request(self.command, url, content=body, headers=kept, timeout=10, trust_env=False)
                answer = given.status_code, given.content
            self.send_response(answer[0])
            self.send_header("Content-Length", str(len(answer[1])))
            self.end_headers()
            self.wfile.write(answer[1])

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 the names that the base class looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        opened = Proxy(f"http://127.0.0.1:{server.server_port}")
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield opened
        finally:
            server.shutdown()
            thread.join()
