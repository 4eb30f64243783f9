"""`bridge connect` against a stand-in of OpenBSP's API and a bridge that answers over HTTP."""

import ssl
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from avro.columns import ENTITIES
from bridge import cli
from bridge.suppressions.hashes import Contact
from openbsp_testkit.postgrest import Postgrest, running_postgrest
from support.authority import Authority, Identity
from support.fake_kafka import FakeKafka, FakeSuppressions
from support.ingress import BOUND_TOKEN, ORGANIZATION, TOKEN, RunningIngress, running_ingress
from support.wait import eventually

ANON_KEY = "the-public-key-of-the-project"
TABLES = ("messages", "conversations", "contacts", "contacts_addresses")
API_KEY = "the-key-of-the-organization"

Run = Callable[..., tuple[int, str]]


@pytest.fixture
def platform():
    with running_postgrest(*TABLES, anon_key=ANON_KEY) as server:
        server.api_key = API_KEY
        yield server


@pytest.fixture
def bridge(tmp_path: Path):
    with running_ingress(tmp_path, kafka=FakeKafka()) as ingress:
        yield ingress


@pytest.fixture
def connect(platform: Postgrest, bridge: RunningIngress, monkeypatch: pytest.MonkeyPatch, capsys) -> Run:
    """Run `bridge connect` for the organization `org`; return the exit code and what was written."""
    monkeypatch.setenv("OPENBSP_URL", platform.url)
    monkeypatch.setenv("OPENBSP_ANON_KEY", ANON_KEY)
    monkeypatch.setenv("OPENBSP_API_KEY", API_KEY)

    def call(*arguments: str, url: str = bridge.url, token: str = TOKEN) -> tuple[int, str]:
        monkeypatch.setattr(
            sys, "argv", ["bridge", "connect", "--organization", "org", "--url", url, "--token", token, *arguments]
        )
        with pytest.raises(SystemExit) as ended:
            cli.main()
        written = capsys.readouterr()
        assert not any(secret in written.out + written.err for secret in (ANON_KEY, API_KEY, TOKEN))
        assert "Traceback" not in written.err
        return ended.value.code or 0, written.out + written.err

    return call


def test_an_organization_is_connected_once(platform: Postgrest, bridge: RunningIngress, connect: Run):
    status, out = connect()
    assert status == 0, out
    registered = {row["table_name"]: row for row in platform.rows("webhooks")}
    assert registered.keys() == set(TABLES)
    for row in registered.values():
        assert row["operations"] == ["insert", "update"]
        assert (row["url"], row["token"]) == (f"{bridge.url}/webhooks", TOKEN)
        assert row["organization_id"] == "org"
    before = platform.rows("webhooks")
    status, out = connect()
    assert (status, platform.rows("webhooks")) == (0, before)
    assert out.count("registered") == len(TABLES)


@pytest.mark.parametrize("arguments", [(), ("--remove",)])
def test_a_key_that_may_only_read_is_not_told_that_something_changed(
    platform: Postgrest, bridge: RunningIngress, connect: Run, arguments: tuple[str, ...]
):
    for table in TABLES:
        platform.put(
            "webhooks", organization_id="org", table_name=table, operations=["insert"], url=bridge.url, token=""
        )
    platform.read_only = True
    status, out = connect(*arguments)
    assert status == 1
    assert "the key has no right to do that" in out


def test_a_dry_run_changes_nothing(platform: Postgrest, connect: Run):
    status, out = connect("--dry-run")
    assert status == 0
    assert "would register messages" in out
    assert platform.rows("webhooks") == []


def test_other_organizations_and_other_receivers_are_left_alone(platform: Postgrest, connect: Run):
    others = [
        platform.put("webhooks", organization_id="other", table_name="messages", url="https://x.example", token="t"),
        platform.put("webhooks", organization_id="org", table_name="messages", url="https://x.example", token="t"),
    ]
    connect()
    connect("--remove")
    assert sorted(row["id"] for row in platform.rows("webhooks")) == sorted(row["id"] for row in others)


def test_openbsps_quick_start_is_repaired(platform: Postgrest, bridge: RunningIngress, connect: Run):
    """It registers insert only and no token: every webhook would be answered 401."""
    platform.put("webhooks", organization_id="org", table_name="messages", operations=["insert"], url=bridge.url)
    status, out = connect("--check")
    assert status == 1
    assert "update not registered" in out
    assert "no token: every webhook is answered 401" in out
    assert connect()[0] == 0
    assert connect("--check")[0] == 0


def test_a_check_sends_the_newest_row_and_shows_its_receipt(platform: Postgrest, bridge: RunningIngress, connect: Run):
    connect()
    for number in (1, 3, 2):
        platform.put("messages", id=f"m{number}", organization_id="org", updated_at=f"2026-05-0{number}T00:00:00+00:00")
    platform.put("messages", id="of-another", organization_id="other", updated_at="2026-05-09T00:00:00+00:00")
    status, out = connect("--check")
    assert status == 0, out
    assert "messages: published as event" in out
    assert "conversations: no row yet" in out
    assert [record.key for record in bridge.kafka.log] == [b"m3"]


def test_a_check_sends_rows_of_a_table_without_ids(platform: Postgrest, connect: Run):
    connect()
    address = {"organization_id": "org", "service": "whatsapp", "address": "+1", "updated_at": "2026-05-01T00:00:00Z"}
    platform.put("contacts_addresses", **address)
    status, out = connect("--check")
    assert status == 0, out
    assert "contacts_addresses: published as event" in out


def test_a_check_says_that_the_bridge_does_not_take_the_token(platform: Postgrest, connect: Run):
    platform.put("messages", id="m", organization_id="org", updated_at="2026-05-01T00:00:00+00:00")
    connect(token="a-token-of-somebody-else")
    status, out = connect("--check", token="a-token-of-somebody-else")
    assert status == 1
    assert "answered 401 unauthorized" in out


def test_a_check_tries_the_token_also_while_there_is_no_row(platform: Postgrest, bridge: RunningIngress, connect: Run):
    connect()
    status, out = connect("--check")
    assert status == 0
    assert out.count("no row yet, so nothing to try with; the bridge accepts the token") == len(ENTITIES)
    assert bridge.kafka.log == []
    connect(token="a-token-of-somebody-else")
    status, out = connect("--check", token="a-token-of-somebody-else")
    assert status == 1
    assert "answered 401 unauthorized" in out
    assert {row["token"] for row in platform.rows("webhooks")} == {"a-token-of-somebody-else"}


@pytest.mark.parametrize("rows", [0, 1])
def test_a_check_says_that_the_token_is_of_another_organization(
    platform: Postgrest, bridge: RunningIngress, connect: Run, rows: int
):
    for number in range(rows):
        platform.put("messages", id=f"m{number}", organization_id="org", updated_at="2026-05-01T00:00:00+00:00")
    connect(token=BOUND_TOKEN)
    status, out = connect("--check", token=BOUND_TOKEN)
    assert status == 1
    assert out.count("the token is bound to other organizations than org, so every webhook is answered 403") == len(
        ENTITIES
    )
    assert "accepts the token" not in out
    assert bridge.kafka.log == [], "not even a dead letter"


def test_a_check_accepts_a_token_of_the_organization_itself(connect: Run):
    assert connect("--organization", ORGANIZATION, token=BOUND_TOKEN)[0] == 0
    status, out = connect("--check", "--organization", ORGANIZATION, token=BOUND_TOKEN)
    assert status == 0, out
    assert out.count("the bridge accepts the token") == len(ENTITIES)


def test_a_check_names_a_table_that_the_api_does_not_show(platform: Postgrest, connect: Run):
    """`bridge reconcile` cannot compare it; the other tables are tried all the same."""
    connect()
    platform.tables = tuple(table for table in platform.tables if table != "contacts")
    status, out = connect("--check")
    assert status == 1
    assert "wrong    contacts: its rows cannot be read" in out
    assert "there is no such table" in out
    assert out.count("the bridge accepts the token") == len(TABLES) - 1


def test_a_check_names_every_way_in_which_a_registration_is_wrong(
    platform: Postgrest, bridge: RunningIngress, connect: Run
):
    def register(table: str, **columns: object) -> None:
        right = {"operations": ["insert", "update"], "url": f"{bridge.url}/webhooks", "token": TOKEN}
        platform.put("webhooks", organization_id="org", table_name=table, **{**right, **columns})

    for columns, said in (
        ({"operations": ["insert"]}, "messages: update not registered: statuses and edits never arrive"),
        ({"operations": ["update"]}, "messages: insert not registered: new rows never arrive"),
        ({"token": None}, "messages: no token: every webhook is answered 401 and lost"),
        ({"token": "another"}, "messages: another token than the one given"),
        ({"url": bridge.url}, "messages: its path is empty, not /webhooks: every webhook is answered 404"),
        ({"url": f"{bridge.url}/hook"}, "messages: its path is /hook, not /webhooks"),
        ({"url": bridge.url.replace("http:", "https:") + "/webhooks"}, "messages: its address begins with https"),
        ({"token": f"Bearer {TOKEN}"}, 'messages: its token begins with "Bearer", which OpenBSP adds itself'),
        ({"token": f" {TOKEN}"}, "messages: its token has white space around it: every webhook is answered 401"),
        ({"url": f"{bridge.url}/webhooks\n"}, "messages: its address has white space in it"),
        ({"url": f"{bridge.url}/webhooks?token={TOKEN}"}, "messages: its address has a user name, a query"),
        ({"url": "http://127.0.0.1:1/webhooks"}, "messages: no webhook is registered for 127.0.0.1"),
        (
            {"table_name": "organizations_addresses"},
            "organizations_addresses: registered for this bridge, which refuses",
        ),
        ({"table_name": "public.messages"}, "public.messages: registered for this bridge, but no table of OpenBSP"),
    ):
        platform.remove("webhooks", *(row["id"] for row in platform.rows("webhooks")))
        register("conversations")
        register(str(columns.pop("table_name", "messages")), **columns)
        status, out = connect("--check")
        assert status == 1
        assert f"wrong    {said}" in " ".join(out.split(" ")), out
    assert "messages: no webhook is registered" in out
    register("messages")
    register("messages")
    assert "registered twice" in connect("--check")[1]
    for number in range(3):
        register("conversations", url=f"https://other.example/{number}", token="t")
    status, out = connect("--check")
    assert status == 1
    assert "conversations: 3 other webhooks are registered, and OpenBSP calls only 3" in out
    assert connect("--remove")[0] == 0
    assert {row["url"] for row in platform.rows("webhooks")} == {f"https://other.example/{n}" for n in range(3)}


def test_a_check_is_well_if_the_newest_row_is_of_an_erased_contact(platform: Postgrest, connect: Run, tmp_path: Path):
    key = "k" * 32
    suppressions = FakeSuppressions(Contact("+1").hash(key.encode()))
    with running_ingress(tmp_path / "other", suppression_key=key, suppressions=suppressions) as bridge:
        eventually(lambda: bridge.metric("bridge_suppressions") == 1)
        platform.put("messages", id="m", organization_id="org", contact_address="+1", updated_at="2026-05-01T00:00:00Z")
        connect(url=bridge.url)
        status, out = connect("--check", url=bridge.url)
    assert status == 0, out
    assert "messages: the bridge accepts the token, and turns away the contact" in out


def test_a_check_says_that_something_else_answers(platform: Postgrest, connect: Run):
    platform.put("messages", id="m", organization_id="org", updated_at="2026-05-01T00:00:00+00:00")
    status, out = connect("--check", url=platform.url)
    assert status == 1
    assert "is something else at this address?" in out


def test_a_check_says_that_nobody_answers(platform: Postgrest, connect: Run, unused_port: int):
    platform.put("messages", id="m", organization_id="org", updated_at="2026-05-01T00:00:00+00:00")
    status, out = connect("--check", url=f"http://127.0.0.1:{unused_port}")
    assert status == 1
    assert "did not answer from here: ConnectError: [Errno" in out
    assert "can only be reached from its own network" in out


@pytest.mark.parametrize(
    ("status", "headers", "said"),
    [
        (308, {"Location": "https://bridge.example/webhooks"}, "it leads on to https://bridge.example/webhooks"),
        (502, {}, "a proxy that does not reach the bridge; is it running?"),
        (400, {}, "not the answer of a bridge; is something else at this address?"),
        (None, {}, "did not answer from here: ReadTimeout: OpenBSP does not wait longer than 0.2 s"),
    ],
)
def test_a_check_names_what_is_before_the_bridge(connect: Run, monkeypatch, status, headers, said):
    monkeypatch.setattr("bridge.sender.connect._TIMEOUT_S", 0.2)
    with answering(status, headers) as url:
        connect(url=url)
        code, out = connect("--check", url=url)
    assert code == 1
    assert out.count(said) == len(TABLES)


@pytest.mark.parametrize("is_tls", [True, False], ids=["self-signed", "not-tls"])
def test_a_check_says_that_tls_fails(connect: Run, tmp_path: Path, *, is_tls: bool):
    with answering(200, {}, Authority(tmp_path).issue("bridge") if is_tls else None) as address:
        url = address.replace("http:", "https:")
        connect(url=url)
        code, out = connect("--check", url=url)
    assert code == 1
    assert out.count("TLS fails, as it would for OpenBSP: ") == len(TABLES)
    assert ("certificate verify failed" in out) == is_tls


@contextmanager
def answering(status: int | None, headers: dict[str, str], identity: Identity | None = None) -> Iterator[str]:
    """Run a server that answers every POST alike; with no status it does not answer until it ends."""
    ended = threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            if status is None:
                ended.wait()
                return
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            """Say nothing of clients that do not like the certificate."""

    with Server(("127.0.0.1", 0), Handler) as server:
        if identity is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(identity.both)
            server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            ended.set()
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("variable", "value", "said"),
    [
        ("OPENBSP_ANON_KEY", "wrong-key", "the key is not accepted: check OPENBSP_ANON_KEY and OPENBSP_API_KEY"),
        ("OPENBSP_API_KEY", "wrong-key", "use an API key of an owner or administrator in OPENBSP_API_KEY"),
        ("OPENBSP_URL", None, "OPENBSP_URL is not set"),
        ("OPENBSP_URL", "http://127.0.0.1:port", "is not a valid address"),
        ("OPENBSP_API_KEY", "two words", "has a character that no key has"),
        ("OPENBSP_API_KEY", " ", "a key is empty"),
        ("OPENBSP_ANON_KEY", "schlüssel", "has a character that no key has"),
    ],
)
def test_what_the_platform_refuses_is_said_with_what_to_do(connect: Run, monkeypatch, variable, value, said):
    if value is None:
        monkeypatch.delenv(variable)
    else:
        monkeypatch.setenv(variable, value)
    status, out = connect()
    assert status == 1
    assert said in out


def test_a_platform_that_fails_or_is_none_is_named(
    platform: Postgrest, bridge: RunningIngress, connect: Run, monkeypatch
):
    platform.failing.append(503)
    assert "refused GET webhooks with 503: the database is starting up" in connect()[1]
    monkeypatch.setenv("OPENBSP_URL", bridge.url)
    assert "check OPENBSP_URL" in connect()[1]


@pytest.mark.parametrize(
    "url",
    [
        *("bridge.example.com", "https://", "ftp://x", "https://[x", "http://x:port", "http://x y"),
        *("https://x?y", "https://x/webhooks?y", "https://x#y", "https://me@x"),
    ],
)
def test_what_is_no_address_is_not_registered(platform: Postgrest, connect: Run, url: str):
    """OpenBSP would keep it, and every webhook would be lost."""
    assert connect(url=url)[0] == 2
    assert platform.rows("webhooks") == []


def test_the_line_feed_of_a_file_is_part_of_no_key(platform: Postgrest, connect: Run, monkeypatch):
    monkeypatch.setenv("OPENBSP_API_KEY", f"{API_KEY}\n")
    assert connect(token=f"{TOKEN}\n")[0] == 0
    assert {row["token"] for row in platform.rows("webhooks")} == {TOKEN}


@pytest.mark.parametrize("token", ["", " ", "two words"])
def test_what_is_no_token_is_not_registered(platform: Postgrest, connect: Run, token: str):
    assert connect(token=token)[0] == 2
    assert platform.rows("webhooks") == []


def test_nothing_is_removed_while_checking(connect: Run):
    assert connect("--check", "--remove")[0] == 2
