"""TLS with every way to say who one is, on a broker that allows nobody more than docs/operations.md says."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import httpx
import pytest
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from openbsp.errors import KafkaUnavailableError, TopicsError
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.kafka.registry import Registry
from openbsp.kafka.topics import Topics
from openbsp.local.ports import free_ports
from openbsp.local.stack import LocalStack
from openbsp.up.part import PythonPart
from streams.errors import RepartitionError
from streams.repartition import LISTS, SOURCES, STATES, Repartition
from support.acl import documented_rights, documented_rights_to_move
from support.authority import Authority
from support.consume import AvroReader, read_all
from support.documented import DocumentedEvents
from support.wait import eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
USERS = ("deploy", "bridge", "streams", "move")
PASSWORDS = {user: f"pässword-of-{user}" for user in USERS}
WAYS = ("SCRAM-SHA-256", "SCRAM-SHA-512", "PLAIN", "OAUTHBEARER", "mutual TLS")


@dataclass
class TokenEndpoint:
    """An OAuth 2.0 token endpoint: the client credentials grant, tokens without signature, as Kafka's default takes."""

    url: str = ""
    grants: list[str] = field(default_factory=list)

    def serve(self) -> Iterator["TokenEndpoint"]:
        """Answer until the generator is closed."""
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                given = base64.b64decode(self.headers["Authorization"].removeprefix("Basic ")).decode()
                user, _, password = given.partition(":")
                allowed = password == f"secret-of-{user}"
                endpoint.grants += [user] if allowed else []
                answer = {"access_token": _token(user), "expires_in": 3600} if allowed else {"error": "invalid_client"}
                body = json.dumps(answer).encode()
                self.send_response(200 if allowed else 401)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            self.url = f"http://127.0.0.1:{server.server_port}/token"
            thread = Thread(target=server.serve_forever, args=(0.02,))
            thread.start()
            try:
                yield self
            finally:
                server.shutdown()
                thread.join()


def _token(subject: str) -> str:
    now = int(time.time())
    parts = {"alg": "none", "typ": "JWT"}, {"sub": subject, "iat": now, "exp": now + 3600}
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, ""])


@dataclass(frozen=True)
class Secured:
    """A broker with two TLS listeners beside the plain one that only the test uses."""

    stack: LocalStack
    sasl: str
    mutual: str
    authority: Authority
    tokens: TokenEndpoint
    identities: dict[str, dict[str, str]]

    def variables(self, way: str, user: str, **changes: str) -> dict[str, str]:
        """Return the KAFKA_* variables with which `user` gets in."""
        common = {"KAFKA_SSL_CA_FILE": str(self.authority.file)}
        if way == "mutual TLS":
            own = {"KAFKA_BOOTSTRAP_SERVERS": self.mutual, "KAFKA_SECURITY_PROTOCOL": "SSL", **self.identities[user]}
        else:
            own = {
                "KAFKA_BOOTSTRAP_SERVERS": self.sasl,
                "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
                "KAFKA_SASL_MECHANISM": way,
            }
            if way == "OAUTHBEARER":
                own["KAFKA_SASL_OAUTH_TOKEN_URL"] = self.tokens.url
                own["KAFKA_SASL_OAUTH_CLIENT_ID"] = user
                own["KAFKA_SASL_OAUTH_CLIENT_SECRET"] = f"secret-of-{user}"
            else:
                own |= {"KAFKA_SASL_USERNAME": user, "KAFKA_SASL_PASSWORD": PASSWORDS[user]}
        return {**common, **own, **changes}

    def settings(self, way: str, user: str, **changes: str) -> KafkaSettings:
        """Return the same as settings."""
        variables = self.variables(way, user, **changes)
        return KafkaSettings(**{name.removeprefix("KAFKA_").lower(): value for name, value in variables.items()})


@pytest.fixture(scope="module")
def token_endpoint() -> Iterator[TokenEndpoint]:
    yield from TokenEndpoint().serve()


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory, token_endpoint: TokenEndpoint) -> Iterator[Secured]:
    directory = tmp_path_factory.mktemp("authority")
    authority = Authority(directory)
    sasl, mutual = free_ports(2)
    listeners = f"SECRET://127.0.0.1:{sasl},MUTUAL://127.0.0.1:{mutual}"
    common = "org.apache.kafka.common.security"
    users = " ".join(f'user_{user}="{password}"' for user, password in PASSWORDS.items())
    oauth = f'{common}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
    properties = {
        "listeners": listeners,
        "advertised.listeners": listeners,
        "listener.security.protocol.map": "SECRET:SASL_SSL,MUTUAL:SSL",
        "ssl.keystore.type": "PEM",
        "ssl.keystore.location": str(authority.issue("broker").both),
        "ssl.truststore.type": "PEM",
        "ssl.truststore.location": str(authority.file),
        "ssl.principal.mapping.rules": "RULE:^CN=(.*)$/$1/",
        "listener.name.mutual.ssl.client.auth": "required",
        "listener.name.secret.sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
        "listener.name.secret.plain.sasl.jaas.config": f"{common}.plain.PlainLoginModule required {users};",
        **{
            f"listener.name.secret.scram-sha-{bits}.sasl.jaas.config": f"{common}.scram.ScramLoginModule required;"
            for bits in (256, 512)
        },
        "listener.name.secret.oauthbearer.sasl.jaas.config": oauth,
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        # The plain listener: of the broker itself, and of the test that hands out the rights.
        "super.users": "User:ANONYMOUS",
    }
    identities = {}
    for user in USERS:
        identity = authority.issue(user)
        identities[user] = {
            "KAFKA_SSL_CERTIFICATE_FILE": str(identity.certificate),
            "KAFKA_SSL_KEY_FILE": str(identity.key),
        }
    with LocalStack(kafka_properties=properties) as stack:
        admin = AdminClient({"bootstrap.servers": stack.kafka})
        for mechanism in (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512):
            # One request each: the broker takes no two alterations of a user at once.
            how = ScramCredentialInfo(mechanism, 4096)
            alterations = [UserScramCredentialUpsertion(user, how, PASSWORDS[user].encode()) for user in USERS]
            for done in admin.alter_user_scram_credentials(alterations).values():
                done.result(30)
        yield Secured(stack, f"127.0.0.1:{sasl}", f"127.0.0.1:{mutual}", authority, token_endpoint, identities)


@dataclass(frozen=True)
class Deployed:
    """Topics and schemas of one test, made by `deploy` with no more than its rights."""

    secured: Secured
    topics: TopicSettings
    directory: Path

    def start(self, name: str, way: str, **changes: str) -> PythonPart:
        """Start `bridge` or `streams` as the user of the same name."""
        arguments = {"bridge": ["bridge", "serve"], "streams": ["streams", "worker"]}[name]
        part = PythonPart(
            name,
            arguments,
            variables=name.upper(),
            environment={
                **self.secured.variables(way, name),
                "SCHEMA_REGISTRY_URL": self.secured.stack.registry,
                **{f"TOPIC_{key.upper()}": str(value) for key, value in self.topics.model_dump().items()},
                "BRIDGE_TOKENS": f"tests={TOKEN}",
                "BRIDGE_SPOOL_DIR": str(self.directory / "spool"),
                "STREAMS_TOKENS": f"tests={TOKEN}",
                "STREAMS_APP_ID": f"{self.topics.prefix}streams",
                "STREAMS_DATA_DIR": str(self.directory / "stores"),
                **changes,
            },
            log=self.directory / f"{name}.log",
        )
        part.launch()
        return part

    def log_of(self, name: str) -> str:
        """Return what a process has logged until now."""
        return (self.directory / f"{name}.log").read_text("utf-8", "replace")


@pytest.fixture
def deploy(secured: Secured, tmp_path: Path) -> Callable[[str], Deployed]:
    """Hand out the documented rights for topics of the test's own, and make them as `deploy`."""

    def do(way: str) -> Deployed:
        prefix = f"t{secrets.token_hex(4)}."
        admin = AdminClient({"bootstrap.servers": secured.stack.kafka})
        for done in admin.create_acls(documented_rights(prefix, f"{prefix}streams")).values():
            done.result(30)
        topics = TopicSettings(prefix=prefix, partitions=2, replication_factor=1, min_insync_replicas=1)
        # Passwords and rights take a moment to reach the broker; nobody may see the topics before.
        eventually(lambda: _applied(secured.settings(way, "deploy"), topics))
        with Registry(RegistrySettings(url=secured.stack.registry), prefix) as registry:
            registry.register()
        return Deployed(secured, topics, tmp_path)

    return do


def _applied(kafka: KafkaSettings, topics: TopicSettings) -> bool:
    try:
        Topics(kafka, topics).apply()
    except (KafkaUnavailableError, TopicsError) as error:
        raise AssertionError(error) from error
    return True


@pytest.fixture
def running() -> Iterator[list[PythonPart]]:
    parts: list[PythonPart] = []
    yield parts
    for part in reversed(parts):
        part.stop()


def ask(streams: PythonPart, path: str, **parameters: str) -> httpx.Response:
    """Ask the worker's views."""
    headers = {"Authorization": f"Bearer {TOKEN}"}
    return httpx.get(f"{streams.url}{path}", params=parameters, headers=headers, timeout=15, trust_env=False)


def post(bridge: PythonPart, events: DocumentedEvents) -> list[str]:
    """Send the five payloads; return how each was kept."""
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    answers = [
        httpx.post(f"{bridge.url}/webhooks", content=body, headers=headers, timeout=10, trust_env=False)
        for body in events.bodies
    ]
    return [answer.json()["disposition"] for answer in answers]


def await_documented(streams: PythonPart, events: DocumentedEvents) -> None:
    """Wait until the worker's view has what the five payloads add up to."""

    def look() -> bool:
        answer = ask(streams, f"/conversations/{events.conversation}")
        return answer.status_code == httpx.codes.OK and events.contradictions(answer.json()) == {}

    eventually(look, within=60)


@pytest.mark.parametrize("way", WAYS)
def test_everything_works_with_the_documented_rights(way, deploy, running):
    """From the topics to the view, each process as a user of its own."""
    deployed = deploy(way)
    running += [bridge := deployed.start("bridge", way), streams := deployed.start("streams", way)]
    for part in running:
        part.wait_ready()
    events = DocumentedEvents()
    # The first may come before the bridge has verified the topics; none is lost.
    assert set(post(bridge, events)) <= {"published", "spooled"}
    await_documented(streams, events)
    # What the views ask Kafka themselves: how far a topic goes.
    written = next(
        record
        for record in read_all(deployed.secured.stack.kafka, f"{deployed.topics.prefix}messages")
        if record.key().decode() == events.incoming
    )
    after = f"{written.topic()}:{written.partition()}:{written.offset()}"
    path = f"/conversations/{events.conversation}"
    assert ask(streams, path, after=after).status_code == httpx.codes.OK
    assert [item["id"] for item in ask(streams, "/conversations").json()["conversations"]] == [events.conversation]
    for name in ("bridge", "streams"):
        assert PASSWORDS[name] not in deployed.log_of(name)
        assert f"secret-of-{name}" not in deployed.log_of(name)


def test_nobody_may_do_more(secured, deploy):
    """The bridge cannot write state, the workers cannot write events, and the deployment cannot write at all."""
    deployed = deploy("SCRAM-SHA-512")
    forbidden = {"bridge": "conversation-state", "streams": "messages", "deploy": "messages"}
    reports: list[int] = []
    for user, topic in forbidden.items():
        producer = Producer({**secured.settings("SCRAM-SHA-512", user).librdkafka(), "message.timeout.ms": 20_000})
        producer.produce(
            deployed.topics.prefix + topic, b"x", on_delivery=lambda error, _: reports.append(error.code())
        )
        producer.flush(30)
    assert reports == [KafkaError.TOPIC_AUTHORIZATION_FAILED] * len(forbidden)


def test_a_move_to_more_partitions_works_with_the_documented_rights(secured, deploy):
    """Whoever copies may not be one of the bridge's or the workers' users."""
    former, new = deploy("SCRAM-SHA-512").topics, deploy("SCRAM-SHA-512").topics
    groups = [f"{topics.prefix}streams" for topics in (former, new)]
    admin = AdminClient({"bootstrap.servers": secured.stack.kafka})
    for done in admin.create_acls(documented_rights_to_move(former.prefix, groups[0], new.prefix, groups[1])).values():
        done.result(30)
    producer = Producer({"bootstrap.servers": secured.stack.kafka})
    names = ("streams-messages-changelog", *STATES, *SOURCES, *LISTS)
    for name in names:
        producer.produce(former.prefix + name, name.encode(), b"a key")
    assert producer.flush(30) == 0

    def moved() -> bool:
        move = Repartition(secured.settings("SCRAM-SHA-512", "move"), former, new, *groups)
        try:
            move.check()
            move.seed(lambda *_: None)
            move.copy(move.followed)
        except (KafkaException, KafkaUnavailableError, TopicsError, RepartitionError) as error:
            raise AssertionError(error) from error
        finally:
            move.close()
        return True

    eventually(moved, within=60)
    for name in names:
        values = [record.value() for record in read_all(secured.stack.kafka, new.prefix + name)]
        assert name.encode() in values, name


def test_what_the_bridge_may_not_write_becomes_a_dead_letter_after_a_time(deploy, running):
    """The broker's refusal is told with the event, and what may be written goes on."""
    deployed = deploy("SCRAM-SHA-512")
    stack, prefix = deployed.secured.stack, deployed.topics.prefix
    right = AclBindingFilter(
        ResourceType.TOPIC,
        f"{prefix}messages",
        ResourcePatternType.LITERAL,
        "User:bridge",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    (removed,) = admin.delete_acls([right]).values()
    assert len(removed.result(30)) == 1
    running.append(bridge := deployed.start("bridge", "SCRAM-SHA-512", BRIDGE_REFUSAL_GRACE_S="1"))
    bridge.wait_ready()
    events = DocumentedEvents()
    assert "spooled" in post(bridge, events)
    reader = AvroReader(stack.registry)

    def letters() -> list:
        return [reader.value(record) for record in read_all(stack.kafka, f"{prefix}dead-letters")]

    eventually(lambda: len(letters()) >= 3, within=60)
    assert {letter["reason"] for letter in letters()} == {"broker_refused"}
    assert all("TOPIC_AUTHORIZATION_FAILED" in letter["detail"] for letter in letters())
    eventually(lambda: len(read_all(stack.kafka, f"{prefix}conversations")) >= 2)
    assert read_all(stack.kafka, f"{prefix}messages") == []


@pytest.mark.parametrize("way", ["SCRAM-SHA-512", "OAUTHBEARER"])
def test_a_bridge_with_a_wrong_secret_keeps_everything_until_it_is_right(way, deploy, running):
    deployed = deploy(way)
    wrong = "n0t-the-secret"
    variable = "KAFKA_SASL_OAUTH_CLIENT_SECRET" if way == "OAUTHBEARER" else "KAFKA_SASL_PASSWORD"
    running.append(bridge := deployed.start("bridge", way, **{variable: wrong}))
    bridge.wait_ready()
    events = DocumentedEvents()
    assert set(post(bridge, events)) == {"spooled"}
    bridge.stop()
    assert wrong not in deployed.log_of("bridge")
    running += [deployed.start("bridge", way), streams := deployed.start("streams", way)]
    for part in running[1:]:
        part.wait_ready()
    await_documented(streams, events)


@pytest.mark.parametrize(
    ("way", "variable", "reason"),
    [
        ("SCRAM-SHA-512", "KAFKA_SASL_PASSWORD", "uthentication"),
        ("PLAIN", "KAFKA_SASL_PASSWORD", "uthentication"),
        ("SCRAM-SHA-512", "KAFKA_SSL_CA_FILE", "certificate verify failed"),
    ],
)
def test_a_worker_that_is_not_let_in_waits_and_says_why(way, variable, reason, deploy, running):
    deployed = deploy(way)
    stranger = Authority(deployed.directory, "stranger").file
    wrong = "n0t-the-secret" if variable == "KAFKA_SASL_PASSWORD" else str(stranger)
    running.append(streams := deployed.start("streams", way, **{variable: wrong}))

    def said() -> bool:
        assert streams.running
        return reason in deployed.log_of("streams")

    eventually(said, within=60)
    assert httpx.get(f"{streams.url}/readyz", timeout=5, trust_env=False).status_code == 503
    assert "n0t-the-secret" not in deployed.log_of("streams")


def test_a_client_without_a_certificate_is_refused(secured):
    kafka = KafkaSettings(bootstrap_servers=secured.mutual, security_protocol="SSL", ssl_ca_file=secured.authority.file)
    with pytest.raises(KafkaUnavailableError):
        Topics(kafka, TopicSettings()).check()
