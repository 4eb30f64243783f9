"""The registry behind what stands before it in use: rights to read only, basic authentication, TLS."""

import base64
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import pytest

from openbsp.errors import RegistryError
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from openbsp.up.part import PythonPart
from support.authority import Authority
from support.documented import DocumentedEvents
from support.environment import clean_environment
from support.wait import eventually

pytestmark = pytest.mark.integration


@contextmanager
def gate(registry: str, *, read_only: bool = False, user: str = "", tls: ssl.SSLContext | None = None) -> Iterator[str]:
    """Stand before the registry: refuse changes, ask for basic authentication, speak TLS. Yields the address."""

    class Handler(BaseHTTPRequestHandler):
        def refused(self) -> tuple[int, bytes] | None:
            expected = "Basic " + base64.b64encode(user.encode()).decode()
            if user and self.headers.get("Authorization") != expected:
                return 401, b'{"error_code": 40101, "message": "User cannot be authenticated"}'
            # Looking a schema up and comparing one are POST, too, but change nothing.
            changes = self.command in {"PUT", "DELETE"} or (
                self.command == "POST"
                and self.path.partition("?")[0].endswith("/versions")
                and "/compat" not in self.path
            )
            if read_only and changes:
                return 403, b'{"error_code": 40301, "message": "User is denied operation Write"}'
            return None

        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if (refused := self.refused()) is not None:
                status, content = refused
            else:
                kept = {name: self.headers[name] for name in ("Content-Type", "Accept") if name in self.headers}
                answer = httpx.request(
                    self.command, registry + self.path, content=body, headers=kept, timeout=10, trust_env=False
                )
                status, content = answer.status_code, answer.content
            self.send_response(status)
            self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_POST = do_PUT = do_DELETE = do_GET  # noqa: N815 the names that the base class looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        if tls is not None:
            server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()


def test_everything_but_registering_works_with_rights_to_read_only(contract):
    with (
        gate(contract.registry.url, read_only=True) as url,
        Registry(RegistrySettings(url=url), contract.prefix) as reader,
    ):
        ids = reader.ids()
        assert all(reader.text(schema_id) for schema_id in ids.values())
        reader.check()
        with pytest.raises(RegistryError, match="denied operation Write") as refused:
            reader.register()
    assert not refused.value.refused


def test_basic_authentication_lets_in_with_the_right_password_and_never_tells_it(contract):
    with gate(contract.registry.url, user="bridge:hunter2:x") as url:
        right = RegistrySettings(url=url, username="bridge", password="hunter2:x")
        with Registry(right, contract.prefix) as registry:
            assert registry.ids()
        for settings in (RegistrySettings(url=url), RegistrySettings(url=url, username="bridge", password="hunter3")):
            with Registry(settings, contract.prefix) as registry, pytest.raises(RegistryError) as refused:
                registry.ids()
            assert not refused.value.refused
            assert "cannot be authenticated" in str(refused.value)
            assert "hunter" not in str(refused.value)


def test_tls_with_an_own_authority_and_a_client_certificate(contract, tmp_path):
    authority = Authority(tmp_path)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own = authority.issue("server")
    server.load_cert_chain(own.certificate, own.key)
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    client = authority.issue("client")
    stranger = Authority(tmp_path, "stranger")
    intruder = stranger.issue("intruder")
    with gate(contract.registry.url, tls=server) as url:
        right = RegistrySettings(
            url=url, ssl_ca_file=authority.file, ssl_certificate_file=client.certificate, ssl_key_file=client.key
        )
        with Registry(right, contract.prefix) as registry:
            assert registry.ids()
        for change in (
            {"ssl_ca_file": stranger.file},
            {"ssl_ca_file": None},
            {"ssl_certificate_file": None, "ssl_key_file": None},
            {"ssl_certificate_file": intruder.certificate, "ssl_key_file": intruder.key},
        ):
            with Registry(right.model_copy(update=change), contract.prefix) as registry:
                with pytest.raises(RegistryError) as failed:
                    registry.ids()
                assert not failed.value.refused


def test_both_processes_run_on_a_registry_that_lets_them_only_read(contract, tmp_path):
    """With TLS of an own authority, a password and a client certificate; what they log has no secret."""
    token, password = "token-of-the-tests", "hunter2-of-the-registry"
    authority = Authority(tmp_path)
    own, client = authority.issue("server"), authority.issue("client")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(own.certificate, own.key)
    server.load_verify_locations(authority.file)
    server.verify_mode = ssl.CERT_REQUIRED
    with ExitStack() as cleanup:
        url = cleanup.enter_context(gate(contract.registry.url, read_only=True, user=f"reader:{password}", tls=server))
        variables = clean_environment() | {
            **contract.environment,
            "SCHEMA_REGISTRY_URL": url,
            "SCHEMA_REGISTRY_USERNAME": "reader",
            "SCHEMA_REGISTRY_PASSWORD": password,
            "SCHEMA_REGISTRY_SSL_CA_FILE": str(authority.file),
            "SCHEMA_REGISTRY_SSL_CERTIFICATE_FILE": str(client.certificate),
            "SCHEMA_REGISTRY_SSL_KEY_FILE": str(client.key),
            "BRIDGE_TOKENS": f"tests={token}",
            "BRIDGE_SPOOL_DIR": str(tmp_path / "spool"),
            "STREAMS_TOKENS": f"tests={token}",
            "STREAMS_APP_ID": f"{contract.prefix}streams",
            "STREAMS_DATA_DIR": str(tmp_path / "stores"),
        }
        parts = {}
        for name, command in {"bridge": "serve", "streams": "worker"}.items():
            log = tmp_path / f"{name}.log"
            part = PythonPart(name, [name, command], variables=name.upper(), environment=variables, log=log)
            cleanup.callback(part.stop)
            part.start()
            parts[name] = part
        events = DocumentedEvents()
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        for body in events.bodies:
            posted = httpx.post(
                f"{parts['bridge'].url}/webhooks", content=body, headers=headers, timeout=10, trust_env=False
            )
            assert posted.status_code == 202, posted.text

        def look() -> bool:
            path = f"/conversations/{events.conversation}"
            answer = httpx.get(f"{parts['streams'].url}{path}", headers=headers, timeout=10, trust_env=False)
            return answer.status_code == 200 and events.contradictions(answer.json()) == {}

        eventually(look, within=60)
    for name in parts:
        assert password not in (tmp_path / f"{name}.log").read_text("utf-8")
