"""The Caddy and nginx examples of docs/openbsp.md, run as they stand there: TLS before a bridge, and nothing lost."""

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from support.authority import Authority
from support.bridge_process import TOKEN, Bridge
from support.wait import eventually

pytestmark = [pytest.mark.integration]

DOCS = Path(__file__).parents[2] / "docs" / "openbsp.md"
MIB = 1024 * 1024
#: Nothing listens there: the bridge spools, which is all that is needed of it here.
NO_SERVER = "127.0.0.1:1"
#: The address that the sender has, as against that of the proxy.
SENDER = "127.0.0.2"


def example(language: str) -> str:
    found = re.search(rf"```{language}\n(.*?)```", DOCS.read_text("utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def replaced(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"the example has no {old}"
        text = text.replace(old, new)
    return text


def caddy(directory: Path, port: int, upstream: int, certificate: Path, key: Path) -> list[str]:
    address = "bridge.example.com {"
    changes = {"127.0.0.1:8080": f"127.0.0.1:{upstream}", address: f"{address}\n    tls {certificate} {key}"}
    options = f"{{\n    admin off\n    auto_https disable_redirects\n    https_port {port}\n}}\n"
    file = directory / "Caddyfile"
    file.write_text(options + replaced(example("caddyfile"), changes))
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


def nginx(directory: Path, port: int, upstream: int, certificate: Path, key: Path) -> list[str]:
    changes = {
        "listen 443": f"listen 127.0.0.1:{port}",
        "/etc/ssl/bridge.example.com.pem": str(certificate),
        "/etc/ssl/bridge.example.com.key": str(key),
        "127.0.0.1:8080": f"127.0.0.1:{upstream}",
    }
    paths = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    temporary = "".join(f"{name}_temp_path {directory / name};" for name in paths)
    # Its workers have to write to the directory of the test.
    user = "user root; " if os.geteuid() == 0 else ""
    file = directory / "nginx.conf"
    file.write_text(
        f"{user}daemon off; pid {directory}/pid; error_log {directory}/error.log; events {{}}"
        f" http {{ access_log off; {temporary} {replaced(example('nginx'), changes)} }}"
    )
    return ["nginx", "-e", str(directory / "error.log"), "-c", str(file)]


@dataclass
class Proxy:
    """A proxy that runs, with a certificate that `authority` has signed."""

    name: str
    port: int
    authority: Authority

    def client(self) -> httpx.Client:
        context = ssl.create_default_context(cafile=self.authority.file)
        # The certificate is for the address that is connected to; the example is for a name.
        context.check_hostname = False
        transport = httpx.HTTPTransport(verify=context, local_address=SENDER)
        return httpx.Client(
            base_url=f"https://127.0.0.1:{self.port}",
            transport=transport,
            headers={"Host": "bridge.example.com", "Authorization": f"Bearer {TOKEN}"},
            timeout=30,
        )

    def post(self, client: httpx.Client, path: str = "/webhooks", **columns: object) -> httpx.Response:
        row = {"id": "message-1", "organization_id": "organization-1", **columns}
        body = {"entity": "messages", "action": "insert", "data": row}
        extensions = {"sni_hostname": "bridge.example.com"}
        return client.post(path, json=body, extensions=extensions)


@pytest.fixture(params=[caddy, nginx])
def start_proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[[int], Proxy]]:
    """Start the proxy of an example before a port."""
    name = request.param.__name__
    if shutil.which(name) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")
    authority = Authority(tmp_path)
    identity = authority.issue("bridge.example.com")
    started: list[subprocess.Popen[bytes]] = []

    def start(upstream: int) -> Proxy:
        port = free_port()
        command = request.param(tmp_path, port, upstream, identity.certificate, identity.key)
        with (tmp_path / "proxy.log").open("wb") as log:
            environment = {**os.environ, "HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path)}
            process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
        started.append(process)

        def listens() -> bool:
            assert process.poll() is None, (tmp_path / "proxy.log").read_text()
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", port)) == 0

        eventually(listens)
        return Proxy(name, port, authority)

    yield start
    for process in started:
        process.terminate()
        process.wait(20)


@pytest.fixture(scope="module")
def bridge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bridge]:
    bridge = Bridge(NO_SERVER, f"http://{NO_SERVER}", tmp_path_factory.mktemp("bridge"))
    bridge.start()
    yield bridge
    bridge.close()


def test_webhooks_go_through_and_nothing_else_does(start_proxy, bridge):
    proxy = start_proxy(bridge.port)
    with proxy.client() as client:
        first = proxy.post(client)
        assert (first.status_code, first.json()["disposition"]) == (202, "spooled")
        stream = first.extensions["network_stream"]
        assert proxy.post(client, "/webhooks/").status_code == 202
        # Whatever its content is, the bridge answers and not the proxy.
        large = proxy.post(client, note="x" * (4 * MIB - 1_000))
        assert large.status_code == 202
        too_large = proxy.post(client, note="x" * 5 * MIB)
        assert (too_large.status_code, too_large.json()["reason"]) == (413, "too_large")
        refused = client.post("/webhooks", json={}, headers={"Authorization": "Bearer none"})
        assert (refused.status_code, refused.json()["reason"]) == (401, "unauthorized")
        eventually(lambda: f'"client":"{SENDER}"' in bridge.log.read_text())
        for path in ("/", "/metrics", "/readyz", "/webhooks/more"):
            assert client.get(path, extensions={"sni_hostname": "bridge.example.com"}).status_code == 404
    with proxy.client() as client:
        streams = {id(proxy.post(client).extensions["network_stream"]) for _ in range(3)}
        assert len(streams) == 1, "the connection of the sender is kept"
    assert stream is not None
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.post(f"https://127.0.0.1:{proxy.port}/webhooks", trust_env=False)


@dataclass
class Upstream:
    """Stands where a bridge would, and keeps what it was asked with."""

    port: int
    answer_after_s: float = 0.0
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[int] = field(default_factory=set)

    def serve(self) -> ThreadingHTTPServer:
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                upstream.headers.append({name.lower(): value for name, value in self.headers.items()})
                upstream.connections.add(self.client_address[1])
                time.sleep(upstream.answer_after_s)
                body = json.dumps({"disposition": "published"}).encode()
                self.send_response(202)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server


def test_an_answer_that_takes_as_long_as_the_sender_waits_is_passed_on_with_the_senders_address(start_proxy):
    upstream = Upstream(free_port(), answer_after_s=4.5)
    server = upstream.serve()
    proxy = start_proxy(upstream.port)
    try:
        with proxy.client() as client:
            assert proxy.post(client).status_code == 202
            upstream.answer_after_s = 0.0
            assert [proxy.post(client).status_code for _ in range(3)] == [202] * 3
    finally:
        server.shutdown()
        server.server_close()
    assert len(upstream.connections) == 4, "no connection is used again that a bridge may be closing"
    for headers in upstream.headers:
        assert headers["x-forwarded-for"] == SENDER
        assert headers["x-forwarded-proto"] == "https"
        assert headers["host"] == "bridge.example.com"
        assert headers["authorization"] == f"Bearer {TOKEN}"
        assert headers["content-type"] == "application/json"


def test_a_bridge_that_is_not_there_is_a_gateway_error_before_the_sender_gives_up(start_proxy):
    proxy = start_proxy(free_port())
    with proxy.client() as client:
        began = time.monotonic()
        assert proxy.post(client).status_code == 502
        assert time.monotonic() - began < 5
