"""`make audit` against a database of the test: what is known is said, what could not be asked is not called safe."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
#: An advisory in the form of OSV's API.
ADVISORY = {
    "id": "GHSA-of-the-test",
    "modified": "2026-01-01T00:00:00Z",
    "published": "2026-01-01T00:00:00Z",
    "summary": "Something.",
    "affected": [
        {
            "package": {"name": "httpx", "ecosystem": "PyPI"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "99.1"}]}],
        }
    ],
}


@contextmanager
def database(answer: Callable[[str], dict[str, Any]]) -> Iterator[str]:
    """Run an advisory database; yield its address. `answer` is that to a package's name."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            content = json.dumps(answer(asked["package"]["name"])).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def audit(url: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, ROOT / "deploy" / "audit.py"],
        env={**os.environ, "AUDIT_OSV_URL": url, "no_proxy": "127.0.0.1"},
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )


def test_nothing_that_is_known():
    with database(lambda _: {}) as url:
        done = audit(url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.endswith(" packages checked, 0 known\n")


def test_what_is_known_is_named_with_the_version_that_repairs_it():
    with database(lambda name: {"vulns": [ADVISORY]} if name == "httpx" else {}) as url:
        done = audit(url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "GHSA-of-the-test, repaired in 99.1" in done.stdout


def test_a_database_that_does_not_answer_is_no_good_news():
    done = audit("http://127.0.0.1:9/v1/query")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "nothing was checked" in done.stdout
