"""What an operator or a client may rely on in one service holds in the other: the same code does it in both."""

import json
import os
import signal
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from openbsp.http.connections import MAX_HEAD_BYTES
from openbsp.http.tokens import unauthorized
from openbsp.http.tokens.token_set import new_token
from openbsp.log import FirstLines, line_of
from support.processes import COMMANDS, Process, rewrite_unnoticed
from support.services import SERVICES, TOKEN, Running
from support.wait import eventually

Start = Callable[..., Running]


@pytest.fixture(params=list(SERVICES))
def start(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Start]:
    """Return what starts a service, with these settings."""
    with ExitStack() as stack:
        yield lambda **settings: stack.enter_context(SERVICES[request.param](tmp_path, **settings))


@pytest.fixture(params=list(COMMANDS))
def process(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Process]:
    """Return a process that is not started yet, with a tokens file of its own."""
    (tmp_path / "tokens").write_text(new_token("first")[1])
    made = Process(request.param, tmp_path, {"TOKENS_FILE": str(tmp_path / "tokens")})
    yield made
    made.close()


def received(connection: socket.socket) -> bytes:
    """Return all that comes until the service ends the connection."""
    data = b""
    try:
        while piece := connection.recv(65536):
            data += piece
    except ConnectionResetError:
        pass
    return data


def refusal(data: bytes) -> tuple[int, dict[str, str], dict[str, Any]]:
    """Return status, headers and body of the only answer."""
    head, _, body = data.partition(b"\r\n\r\n")
    status, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
    assert len(body) == int(headers["content-length"]), "more than one answer"
    return int(status.split()[1]), headers, json.loads(body)


def check_refused(data: bytes, reason: str, status: int) -> None:
    """Check that the only answer is a problem, which ends the connection."""
    found, headers, body = refusal(data)
    assert (found, body["reason"], body["status"]) == (status, reason, status)
    assert headers["content-type"] == "application/problem+json"
    assert headers["cache-control"] == "no-store"
    assert headers["connection"] == "close"
    assert ("retry-after" in headers) == (status == 503)


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\x00\x01\x00", b"GET\r\n\r\n", b"* * *\r\n\r\n"])
def test_what_is_not_http_is_refused_as_a_problem(start: Start, sent: bytes):
    with start().connect() as connection:
        connection.sendall(sent)
        check_refused(received(connection), "malformed_request", 400)


def test_a_head_without_end_is_refused(start: Start):
    with start().connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: ")
        connection.sendall(b"x" * MAX_HEAD_BYTES)
        check_refused(received(connection), "head_too_large", 431)


NOTHING_OF_IT = "SECRET"
UNREADABLE = {
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00" + NOTHING_OF_IT.encode(), "malformed_request", "a TLS handshake, "),
    "TLS, of which a byte has come": (b"\x16", "malformed_request", "a TLS handshake, "),
    "not HTTP": (f"{NOTHING_OF_IT}\r\n\r\n".encode(), "malformed_request", "not a valid HTTP request"),
    "not HTTP, behind a request": (
        f"GET /healthz HTTP/1.1\r\n\r\n\x16\x03{NOTHING_OF_IT}".encode(),
        "malformed_request",
        "not a valid HTTP request",
    ),
    "a length that is none": (
        f"GET /healthz HTTP/1.1\r\nAuthorization: Bearer {NOTHING_OF_IT}\r\nContent-Length: x\r\n\r\n".encode(),
        "malformed_request",
        "not a valid HTTP request",
    ),
    "for a proxy": (f"CONNECT {NOTHING_OF_IT}:1 HTTP/1.1\r\n\r\n".encode(), "malformed_request", "not a valid HTTP"),
    "a head without end": (
        b"GET /healthz HTTP/1.1\r\nX: " + NOTHING_OF_IT.encode() * MAX_HEAD_BYTES,
        "head_too_large",
        "the headers are larger than ",
    ),
}


@pytest.mark.parametrize(("sent", "reason", "detail"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_is_no_request_is_counted_and_its_only_line_tells_from_where_it_came_and_nothing_of_it(
    start: Start, caplog: pytest.LogCaptureFixture, sent: bytes, reason: str, detail: str
):
    service = start()
    with service.connect() as connection:
        connection.sendall(sent)
        received(connection)
    assert service.metric(f'unreadable_requests_total{{reason="{reason}"}}') == 1
    (line,) = map(line_of, caplog.records)
    message = line["message"]
    assert message.startswith(f"refused what is no request: {detail}")
    assert {name: line[name] for name in ("level", "event", "reason", "client", "not_logged")} == {
        "level": "WARNING",
        "event": "http.refused",
        "reason": reason,
        "client": "127.0.0.1",
        "not_logged": 0,
    }
    assert NOTHING_OF_IT not in json.dumps(line)


def test_of_much_that_is_no_request_the_first_has_lines_and_the_rest_a_number(
    start: Start, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    service = start()

    def scan(times: int) -> list[int]:
        caplog.clear()
        for _ in range(times):
            with service.connect() as connection:
                connection.sendall(b"\x16\x03\x01")
                received(connection)
        return [line_of(record)["not_logged"] for record in caplog.records]

    assert scan(25) == [0] * 10
    monkeypatch.setattr(FirstLines, "_EVERY_S", 0.0)
    assert scan(1) == [15]
    assert service.metric('unreadable_requests_total{reason="malformed_request"}') == 26


def test_an_upgrade_that_is_offered_is_ignored_without_a_word(start: Start, caplog: pytest.LogCaptureFixture):
    headers = {"Connection": "Upgrade", "Upgrade": "websocket"}
    assert start().ask("GET", "/healthz", headers=headers).status_code == 200
    assert caplog.messages == []


def test_connections_are_limited_and_refused_ones_are_counted(tmp_path: Path):
    """Not so in the bridge, whose sender never retries: there they wait."""
    with SERVICES["streams"](tmp_path, connections=2) as service:
        with service.connect(), service.connect(), service.connect() as third:
            check_refused(received(third), "too_many_connections", 503)
        assert eventually(lambda: service.metric("connections_refused_total")) >= 1


@pytest.mark.parametrize("sent", [b"", b"GET /he", b"GET /healthz HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_come_end_the_connection(start: Start, sent: bytes):
    service = start(header_timeout_s=0.1)
    with service.connect() as connection:
        connection.sendall(sent)
        assert received(connection) == b""
    assert service.metric("clients_given_up_total") == 1


@pytest.mark.parametrize(
    ("service", "path"), [("bridge", "/webhooks"), ("streams", "/session")], ids=["bridge", "streams"]
)
def test_a_body_that_does_not_come_is_refused(tmp_path: Path, service: str, path: str):
    with SERVICES[service](tmp_path, header_timeout_s=0.1, body_timeout_s=0.1) as running, running.connect() as client:
        client.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n"
            "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{".encode()
        )
        check_refused(received(client), "body_timeout", 408)
        assert running.metric("clients_given_up_total") == 1


def test_a_refusal_is_no_answer_to_an_earlier_request(start: Start):
    """Here to one whose answer is still being sent: the client would take the refusal for the rest of it."""
    with start().connect() as connection:
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01 nonsense\r\n\r\n")
        assert received(connection).count(b"HTTP/1.1") <= 1


def test_a_proxy_of_this_machine_names_the_client_and_others_do_not(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "192.0.2.1")
    seen = _clients(start(), monkeypatch)
    assert seen == ["127.0.0.1"]


def test_a_trusted_proxy_names_the_client(start: Start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "127.0.0.1")
    assert _clients(start(), monkeypatch) == ["198.51.100.7"]


def _clients(service: Running, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return whom the service takes for the client of a request that names another one."""
    seen = []
    run = RequestResponseCycle.run_asgi

    async def noting(cycle, app):
        seen.append(cycle.scope["client"][0])
        await run(cycle, app)

    monkeypatch.setattr(RequestResponseCycle, "run_asgi", noting)
    service.ask("GET", "/healthz", headers={"X-Forwarded-For": "198.51.100.7"})
    return seen


def test_refusals_of_requests_have_the_same_headers_and_titles(tmp_path: Path):
    found: dict[str, list[Any]] = {"unauthorized": [], "not_found": [], "method_not_allowed": []}
    for name, run in SERVICES.items():
        with run(tmp_path) as service:
            token = {"Authorization": f"Bearer {TOKEN}"}
            method = "POST" if name == "bridge" else "GET"
            found["unauthorized"].append(service.ask(method, service.path))
            found["not_found"].append(service.ask("GET", "/nothing", headers=token))
            found["method_not_allowed"].append(service.ask("PUT", "/healthz", headers=token))
    for reason, answers in found.items():
        shapes = [
            (answer.status_code, answer.json()["reason"], answer.json()["title"], sorted(answer.headers))
            for answer in answers
        ]
        assert shapes[0] == shapes[1], reason
        assert {answer.json()["reason"] for answer in answers} == {reason}
        assert {answer.headers.get("www-authenticate") for answer in answers} == {
            'Bearer realm="openbsp"' if reason == "unauthorized" else None
        }
    assert all(answer.json()["detail"].startswith(unauthorized.DETAIL) for answer in found["unauthorized"])


def test_a_changed_tokens_file_is_read_again_and_an_unusable_one_changes_nothing(start: Start, tmp_path: Path):
    def status(token: str) -> int:
        headers = {"Authorization": f"Bearer {token}"}
        return service.ask("POST" if service.name == "bridge" else "GET", service.path, headers=headers).status_code

    file = tmp_path / "tokens"
    (former, former_line), (later, later_line) = new_token("a"), new_token("b")
    file.write_text(former_line)
    service = start(tokens=None, tokens_file=file)
    assert service.metric("tokens") == 1
    assert (status(former) == 401, status(later)) == (False, 401)
    file.write_text("no line of a tokens file")
    eventually(lambda: service.metric("token_reload_failures_total") == 1)
    assert status(former) != 401
    file.write_text(f"{later_line}\n{new_token('c')[1]}\n")
    eventually(lambda: status(later) != 401)
    assert (status(former), service.metric("tokens")) == (401, 2)


def test_sighup_reads_the_tokens_again_and_the_log_is_json_with_an_event_in_each_line(process: Process, tmp_path: Path):
    """The former also if the file looks unchanged, so that nothing else can have noticed."""
    process.start()
    token, line = new_token("later")
    assert process.status(token) == 401
    rewrite_unnoticed(tmp_path / "tokens", line)
    process.signal(signal.SIGHUP)
    eventually(lambda: process.status(token) != 401)
    assert process.end() == 0
    lines = [json.loads(line) for line in process.output.read_text("utf-8").splitlines()]
    events = [line["event"] for line in lines if line["event"] != "webhook.answered"]
    assert [name for name in events if name in {"http.listening", "tokens.reloaded"}] == [
        "http.listening",
        "tokens.reloaded",
    ]
    assert events[-1] == "process.stopped"
    usual = {"time", "level", "logger", "message"}
    assert [line for line in lines if not usual <= line.keys() and line["event"] != "webhook.answered"] == []
    assert process.errors.read_text("utf-8") == ""


def test_the_log_is_text_on_a_terminal(process: Process):
    terminal, end = os.openpty()
    with os.fdopen(terminal, "rb", buffering=0) as screen:
        process.start(terminal=end)
        os.close(end)
        shown = b""
        while b"http.listening" not in shown:
            shown += screen.read(4096)
        assert process.end() == 0
    lines = shown.decode().splitlines()
    assert [line for line in lines if line.startswith("{")] == []
    assert any(" INFO    http.listening listening on http://127.0.0.1:" in line for line in lines)


def test_the_version_is_printed_after_the_name(process: Process):
    done = process.run("--version")
    assert (done.returncode, done.stdout) == (0, f"{process.name} {version('openbsp-stream-bridge')}\n")


def test_the_settings_are_listed_with_type_default_and_meaning(process: Process):
    done = process.run("settings")
    name = process.name.upper()
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{name}_HOST (text; 127.0.0.1)\n    Address to listen on.\n" in done.stdout
    assert "KAFKA_BOOTSTRAP_SERVERS (" in done.stdout


def test_unusable_settings_are_named_and_end_with_2(process: Process):
    process.variables = {"PORT": "no port", "TOKENS": "x"}
    done = process.run(COMMANDS[process.name][0])
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"{process.name}: the settings are not usable:\n  {process.name.upper()}_PORT: ")
    assert done.stderr.endswith(f"all settings: {process.name} settings\n")


def test_without_tokens_nothing_starts(process: Process):
    process.variables = {}
    done = process.run(COMMANDS[process.name][0])
    name = process.name.upper()
    assert done.returncode == 2
    assert f"no tokens configured: set {name}_TOKENS, {name}_TOKENS_FILE or both" in done.stderr


def test_an_address_that_is_taken_is_named_and_ends_with_1(process: Process):
    with socket.create_server(("127.0.0.1", process.port)):
        done = process.run(COMMANDS[process.name][0])
    why = f"127.0.0.1:{process.port}: Address already in use"
    assert (done.returncode, done.stderr) == (1, f"{process.name}: {why}\n")
    (line,) = map(json.loads, done.stdout.splitlines())
    assert (line["level"], line["event"], line["message"]) == ("CRITICAL", "process.not_started", f"not started: {why}")


def test_the_descriptions_have_the_same_probes_problems_and_tokens(tmp_path: Path):
    documents = []
    for run in SERVICES.values():
        with run(tmp_path) as service:
            documents.append(service.ask("GET", "/openapi.json").json())
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json"):
        assert len({document["paths"][path]["get"]["operationId"] for document in documents}) == 1
    one, other = (document["components"] for document in documents)
    assert one["securitySchemes"]["token"] == other["securitySchemes"]["token"]
    problems = [components["schemas"]["Problem"] for components in (one, other)]
    assert problems[0]["required"] == problems[1]["required"]
    for name in ("title", "detail"):
        assert problems[0]["properties"][name] == problems[1]["properties"][name]
