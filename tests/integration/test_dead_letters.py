"""`bridge dead-letters` with real bridges and workers: a dead letter of every reason, each from its own cause.

They are listed, explained, and redriven once the cause is mended, where that can help.
"""

import contextlib
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient

from avro import codec, instants, writers
from avro.catalogue import MAX_BODY_BYTES, MAX_MESSAGE_BYTES, subject
from avro.schemas import latest
from bridge.cluster import Cluster
from bridge.dead_letters import commands
from bridge.dead_letters.letters import Wanted
from bridge.dead_letters.reasons import EXPLANATIONS
from openbsp.kafka.connection import RegistrySettings
from openbsp.kafka.registry import Registry
from openbsp.up.part import PythonPart
from support.consume import AvroReader, headers_of, newest_by_key, read_all
from support.environment import clean_environment
from support.look import look
from support.registry_proxy import Answer, proxy
from support.topic_settings import change_settings
from support.wait import SESSION_S, eventually

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"
BOUND_TOKEN = "token-of-one-organization"
KEY = "the key of a deployment, for tests alone"
ERASED = "+349990000777123"
SMALL_BYTES = 1500
LARGE = "".join(chr(0x4E00 + number % 20000) for number in range(3000))
#: Topic to the topic that has what comes of its events, under their ids.
OUTCOMES = {
    "messages": "message-state",
    "conversations": "conversation-state",
    "contacts": "streams-contacts-changelog",
}


@pytest.fixture
def make_part():
    """Return processes whatever the servers are: containers would not reach the registry's proxies, which are here."""
    return PythonPart


def post(url: str, body: object, token: str = TOKEN) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return httpx.post(f"{url}/webhooks", content=content, headers=headers, timeout=30, trust_env=False)


def row(key: str, entity: str = "messages", **columns: object) -> dict:
    data = {"id": key, "organization_id": "org-1", "created_at": "2026-05-06T03:39:23.104211-05:00", **columns}
    return {"entity": entity, "action": "insert", "data": data}


class Registries:
    """Two views of a registry: that of a bridge which was led to another one, and that of the worker.

    The other one gives some schemas ids of its own. Under these ids the worker's has nothing, a schema of another
    record, or one that differs; once mended, what the other one has.
    """

    FOREIGN: Mapping[str, tuple[str, int]] = {
        "messages": ("MessageEvent", 4001),
        "conversations": ("ConversationEvent", 4002),
        "contacts": ("ContactEvent", 4003),
    }

    def __init__(self, prefix: str) -> None:
        self.mended = False
        self._texts = {schema_id: latest(record).text for record, schema_id in self.FOREIGN.values()}
        self._ids = {subject(prefix, topic): schema_id for topic, (_, schema_id) in self.FOREIGN.items()}
        another = json.loads(self._texts[4003])
        another["fields"].insert(0, {"name": "of_a_backup", "type": "string"})
        self._wrong = {4002: latest("MessageState").text, 4003: json.dumps(another)}

    def other(self, method: str, path: str) -> Answer:
        name = path.partition("?")[0].rpartition("/")[2]
        if method == "POST" and name in self._ids:
            found = {"subject": name, "version": 1, "id": self._ids[name], "schema": self._texts[self._ids[name]]}
            return 200, json.dumps(found).encode()
        return self._of_id(path, self._texts)

    def of_the_worker(self, _: str, path: str) -> Answer:
        return self._of_id(path, self._texts if self.mended else self._wrong)

    def _of_id(self, path: str, texts: Mapping[int, str]) -> Answer:
        asked, _, number = path.partition("?")[0].rpartition("/")
        if not asked.endswith("/schemas/ids") or int(number) not in self._texts:
            return None
        if int(number) not in texts:
            return 404, b'{"error_code":40403,"message":"Schema not found"}'
        return 200, json.dumps({"schema": texts[int(number)]}).encode()


@dataclass
class World:
    """Processes, the topics they share, and the commands of an operator."""

    contract: Any
    cluster: Cluster
    ids: Mapping[str, int]
    registries: Registries
    variables: Mapping[str, str]
    start_bridge: Callable[..., Any]
    directory: Path
    capsys: pytest.CaptureFixture[str]
    ingress: Any
    #: A bridge with the schema ids of another registry, and one of a version that refuses more.
    misled: Any
    older: Any
    worker: Any

    def admin(self) -> AdminClient:
        return AdminClient(self.contract.kafka.librdkafka())

    def letters(self) -> list[dict]:
        self.capsys.readouterr()
        commands.list_letters(self.cluster, Wanted(), 1, as_json=True)
        return [json.loads(line) for line in self.capsys.readouterr().out.splitlines()]

    def of(self, reason: str) -> list[dict]:
        found = [letter for letter in self.letters() if letter["reason"] == reason]
        return sorted(found, key=lambda letter: letter["redriven"])

    def bridge(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        """Run `bridge` with the arguments, as a process."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "bridge", *arguments],
            env={**clean_environment(), **self.contract.environment, **self.variables, **variables},
            capture_output=True,
            text=True,
            check=False,
            timeout=180,
        )

    def dead_letters(self, *arguments: str, **variables: str) -> subprocess.CompletedProcess:
        return self.bridge("dead-letters", *arguments, **variables)

    def limit_records(self, size: int) -> None:
        """Set how large a record of the messages may be."""
        change_settings(self.admin(), self.contract.topic("messages"), max_message_bytes=str(size))

    def deadly_worker(self, key: str) -> PythonPart:
        """Return a worker in place of the other one that the event of this id ends."""
        variables = {"STREAMS_APP_ID": f"{self.contract.prefix}streams", "STREAMS_SESSION_TIMEOUT_S": str(SESSION_S)}
        return with_a_difference(
            self.contract, "deadly_worker", "worker", self.directory, DEADLY_ID=key, **variables, **self.variables
        )

    def taken(self, url: str, body: object, disposition: str = "published") -> None:
        answer = post(url, body)
        assert (answer.status_code, answer.json()["disposition"]) == (202, disposition), answer.text


# What makes a dead letter of each reason.


def refused(status: int, body: object, token: str = TOKEN) -> Callable[[World], None]:
    """Return what posts a webhook to the bridge, which answers with that status."""

    def arise(world: World) -> None:
        assert post(world.ingress.url, body, token).status_code == status

    return arise


def by_an_older_bridge(world: World) -> None:
    assert post(world.older.url, row("m-older", a=1, b=2, c=3)).status_code == 422


def of_an_erased_contact(world: World) -> None:
    """Spool events while Kafka is away, erase the contact of one of them, and have Kafka there again."""
    own = {"BRIDGE_SPOOL_DIR": str(world.directory / "away"), "BRIDGE_SUPPRESSION_KEY": KEY}
    away = world.start_bridge(KAFKA_BOOTSTRAP_SERVERS="127.0.0.1:1", **own)
    world.taken(away.url, row("m-spooled", service="whatsapp", contact_address=ERASED), "spooled")
    world.taken(away.url, row("m-old", content=LARGE), "spooled")
    assert away.stop() in {0, None}
    servers = ("--url", world.ingress.url, "--token", TOKEN, "--views", world.worker.url, "--views-token", TOKEN)
    erased = world.bridge("erase", "--contact", ERASED, "--execute", *servers, BRIDGE_SUPPRESSION_KEY=KEY)
    assert erased.returncode == 0, erased.stdout + erased.stderr
    # What is too old is the other event.
    world.start_bridge(BRIDGE_SPOOL_MAX_AGE_S="0.001", **own)
    eventually(lambda: world.of("spool_age_limit"), every=0.5)


def by_the_broker(world: World) -> None:
    world.limit_records(SMALL_BYTES)
    world.taken(world.ingress.url, row("m-refused", content=LARGE), "spooled")
    eventually(lambda: world.of("broker_refused"), every=0.5)


def with_foreign_ids(entity: str, key: str) -> Callable[[World], None]:
    """Return what posts a webhook to the bridge that writes with the ids of another registry."""
    return lambda world: world.taken(world.misled.url, row(key, entity))


def foreign(key: bytes | None, value: str | bytes, *headers: tuple[str, bytes], **fields: object) -> Callable:
    """Return what writes a record as only something else than the bridge would: with bytes, or the event of an id."""

    def arise(world: World) -> None:
        about = {"event_id": "x", "action": "insert", "received_at": instants.now(), "extra": {}, "nulls": []}
        encode = codec.encoder("MessageEvent", world.ids["MessageEvent"])
        content = encode({**about, "id": value, **fields}) if isinstance(value, str) else value
        producer = Producer(world.contract.kafka.librdkafka())
        producer.produce(world.contract.topic("messages"), key=key, value=content, headers=list(headers), partition=0)
        assert producer.flush(10) == 0

    return arise


def by_growing(world: World) -> None:
    """Each version of the row has another large column, and the worker keeps them all."""
    for number in range(3):
        world.taken(world.ingress.url, row("m-grows", **{f"column {number}": "x" * (MAX_BODY_BYTES * 2 // 3)}))


def by_ending_workers(world: World) -> None:
    """Start a worker that the event ends again and again, as Kubernetes would, until it sets the event aside."""
    workers = set()
    world.worker.stop()
    with contextlib.ExitStack() as cleanup:
        deadly = world.deadly_worker("m-ends")
        cleanup.callback(deadly.kill)
        world.taken(world.ingress.url, row("m-ends"))

        def set_aside() -> bool:
            if not deadly.running:
                deadly.launch()
                workers.add(deadly.pid)
            return bool(world.of("ends_worker"))

        eventually(set_aside, within=400, every=0.5)
        # In order, so that the position behind the event is committed: the next one would set it aside again.
        deadly.stop()
    # It ended them as usual, in a slice, and twice alone; others may have ended because the machine was busy.
    assert 5 <= len(workers) <= 8
    world.worker.start()


@dataclass(frozen=True)
class Case:
    """How a dead letter arises, and topic and id of the event that it is again, if it can be."""

    arise: Callable[[World], None]
    topic: str | None = None
    id: str | None = None


NOBODY = (writers.NAME, b" ")
CASES = {
    # First, as no other event may be in work; the one with the smaller limit for records is the last.
    ("streams", "ends_worker"): Case(by_ending_workers, "messages", "m-ends"),
    ("webhook", "malformed_json"): Case(refused(400, b"{")),
    ("webhook", "invalid_event"): Case(by_an_older_bridge, "messages", "m-older"),
    ("webhook", "unsupported_entity"): Case(refused(422, row("s", "tokens"))),
    ("webhook", "wrong_organization"): Case(refused(403, row("m-foreign"), BOUND_TOKEN)),
    ("webhook", "too_large"): Case(refused(413, row("m-large", content="x" * MAX_BODY_BYTES))),
    ("bridge", "suppressed"): Case(of_an_erased_contact),
    ("bridge", "spool_age_limit"): Case(lambda _: None, "messages", "m-old"),
    ("webhook", "suppressed"): Case(refused(422, row("m-erased", service="whatsapp", contact_address=ERASED))),
    ("streams", "unknown_schema"): Case(with_foreign_ids("messages", "m-unknown"), "messages", "m-unknown"),
    ("streams", "wrong_subject"): Case(with_foreign_ids("conversations", "c-subject"), "conversations", "c-subject"),
    ("streams", "undecodable"): Case(with_foreign_ids("contacts", "k-decodes"), "contacts", "k-decodes"),
    ("streams", "not_wire_format"): Case(foreign(b"m-wire", b"no Avro\x1b[2J")),
    ("streams", "out_of_range"): Case(foreign(b"m-range", "m-range", created_at=instants.LAST + 1)),
    ("streams", "no_key"): Case(foreign(None, "m-no-key"), "messages", "m-no-key"),
    ("streams", "bad_key"): Case(foreign(b"\xff", "m-bad-key"), "messages", "m-bad-key"),
    ("streams", "bad_header"): Case(foreign(b"m-header", "m-header", NOBODY)),
    ("streams", "key_mismatch"): Case(foreign(b"another", "m-mismatch"), "messages", "m-mismatch"),
    ("streams", "too_large"): Case(by_growing),
    ("bridge", "broker_refused"): Case(by_the_broker, "messages", "m-refused"),
}
#: Those which the command's own registry has to be mended for.
UNREADABLE = {("streams", reason) for reason in ("unknown_schema", "wrong_subject", "undecodable")}


def test_every_reason_has_a_case_and_an_event_where_redriving_can_help():
    assert CASES.keys() == EXPLANATIONS.keys()
    for kind, case in CASES.items():
        assert (case.id is None) == (EXPLANATIONS[kind].hopeless is not None), kind


def assert_shown(world: World, position: str, id_: str) -> None:
    """Have the command show a dead letter of that id, and say where there is none."""
    shown = world.dead_letters("show", position, "--json")
    assert shown.returncode == 0, shown.stderr
    assert json.loads(shown.stdout)["redrive"]["id"] == id_
    nowhere = world.dead_letters("show", "0:999999")
    assert (nowhere.returncode, nowhere.stdout) == (1, "")
    assert "there is no dead letter" in nowhere.stderr


def assert_published(world: World, before: Mapping[str, int], event_ids: list[str]) -> None:
    """Each of them is a record of its topic, one for each time that it was redriven, and the worker has joined it."""
    reader = AvroReader(world.contract.registry.url)
    found = []
    for topic, count in before.items():
        records = read_all(world.contract.kafka.bootstrap_servers, world.contract.topic(topic))
        redriven = [record for record in records if "ce_redriven" in headers_of(record)]
        assert len(records) - count == len(redriven)
        for record in redriven:
            fields = reader.value(record)
            found.append(fields["event_id"])
            assert fields["id"] == record.key().decode()
            if fields["id"] in {"m-refused", "m-old"}:
                assert json.loads(fields["content"]) == LARGE
                assert fields["created_at"].isoformat() == "2026-05-06T08:39:23.104211+00:00"
    assert sorted(found) == sorted(event_ids)

    def without_outcome() -> set[str]:
        known = {
            topic: newest_by_key(read_all(world.contract.kafka.bootstrap_servers, world.contract.topic(outcome)))
            for topic, outcome in OUTCOMES.items()
        }
        return {case.id for case in CASES.values() if case.id and case.id not in known[case.topic]}

    eventually(lambda: without_outcome() == set(), every=0.5)


def is_publishing(url: str) -> bool:
    answer = look(f"{url}/readyz", TOKEN)
    return answer is not None and json.loads(answer[1])["publishing"]


def with_a_difference(contract: Any, module: str, command: str, directory: Path, **variables: str) -> PythonPart:
    """Return a process of ours that is not as in this version: `support.<module>` says how."""
    return PythonPart(
        module,
        [f"support.{module}", command],
        variables={"serve": "BRIDGE", "worker": "STREAMS"}[command],
        environment={
            **clean_environment(),
            **contract.environment,
            **dict.fromkeys(("BRIDGE_TOKENS", "STREAMS_TOKENS"), f"tests={TOKEN}"),
            "BRIDGE_SPOOL_DIR": str(directory / module),
            "STREAMS_DATA_DIR": str(directory / module),
            "PYTHONPATH": str(Path(__file__).parents[1]),
            **variables,
        },
        log=directory / f"{module}.log",
    )


@pytest.fixture
def world(contract, start_bridge, start_streams, capsys, tmp_path):
    registries = Registries(contract.prefix)
    with proxy(contract.registry.url) as other, proxy(contract.registry.url) as of_the_worker:
        other.answer, of_the_worker.answer = registries.other, registries.of_the_worker
        variables = {"SCHEMA_REGISTRY_URL": of_the_worker.url}
        older = with_a_difference(contract, "older_bridge", "serve", tmp_path)
        older.start()
        tokens = f"tests={TOKEN},bound={BOUND_TOKEN}@another"
        with Registry(RegistrySettings(url=of_the_worker.url), contract.prefix) as registry:
            try:
                misled = start_bridge(SCHEMA_REGISTRY_URL=other.url, BRIDGE_SPOOL_DIR=str(tmp_path / "misled"))
                eventually(lambda: is_publishing(misled.url), within=60)
                yield World(
                    contract=contract,
                    cluster=Cluster(contract.kafka, registry, contract.topics),
                    ids=registry.ids(),
                    registries=registries,
                    variables=variables,
                    start_bridge=start_bridge,
                    directory=tmp_path,
                    capsys=capsys,
                    ingress=start_bridge(BRIDGE_TOKENS=tokens, BRIDGE_SUPPRESSION_KEY=KEY),
                    misled=misled,
                    older=older,
                    worker=start_streams(**variables),
                )
            finally:
                older.stop()


@pytest.mark.timeout(900)
def test_a_dead_letter_of_each_reason_is_listed_explained_and_redriven_where_it_can_be(world):
    for case in CASES.values():
        case.arise(world)

    def all_there() -> bool:
        wanted = Counter(CASES.keys())
        found = Counter((letter["origin"], letter["reason"]) for letter in world.letters())
        assert found == wanted, f"missing: {wanted - found}, too many: {found - wanted}"
        return True

    eventually(all_there, every=0.5)
    for letter in world.letters():
        explanation = EXPLANATIONS[letter["origin"], letter["reason"]]
        assert commands.show_letter(world.cluster, letter["position"], as_json=False, all_bytes=False)
        shown = " ".join(world.capsys.readouterr().out.split())
        assert explanation.meaning in shown
        assert explanation.advice in shown
        assert explanation.hopeless is None or explanation.hopeless in shown
        assert "\x1b" not in shown
    table = world.dead_letters("list", "--reason", "wrong_organization", "--since", "1h")
    assert table.returncode == 0, table.stderr
    assert "m-foreign" in table.stdout
    assert "m-refused" not in table.stdout

    # What is refused again says how often that was.
    (first,) = world.of("broker_refused")
    assert_shown(world, first["position"], "m-refused")
    options = ("--execute", "--url", world.ingress.url)
    done = world.dead_letters("redrive", first["position"], *options, BRIDGE_TOKEN=TOKEN)
    assert (done.returncode, done.stdout) == (0, "1 spooled\n"), done.stderr
    eventually(lambda: [letter["redriven"] for letter in world.of("broker_refused")] == [0, 1], every=0.5)

    # The plan tries what is in each, and says of what is lost why.
    wanted = {kind: EXPLANATIONS[kind].hopeless or case.id for kind, case in CASES.items()}
    plan = planned(world)
    assert plan.items() - wanted.items() == {(kind, plan[kind]) for kind in UNREADABLE}
    assert all(plan[kind].startswith("its record still cannot be read: ") for kind in UNREADABLE)
    world.limit_records(MAX_MESSAGE_BYTES)
    world.registries.mended = True
    assert planned(world) == wanted

    # Once the cause is gone, they are events like all others.
    topics = {topic: world.contract.topic(topic) for topic in OUTCOMES}
    before = {name: len(read_all(world.contract.kafka.bootstrap_servers, topic)) for name, topic in topics.items()}
    runs = [
        world.dead_letters("redrive", "--execute", "--url", world.ingress.url, "--token", TOKEN, *options)
        for options in ([], ["--reason", "broker_refused", "--reason", "no_key"])
    ]
    assert [run.returncode for run in runs] == [0, 0], runs
    audit = [[json.loads(line) for line in run.stderr.splitlines()] for run in runs]
    sent = [
        {line["position"]: line["event_id"] for line in lines if line["event"] == "dead_letters.redriven"}
        for lines in audit
    ]
    # Of one event the dead letter that was redriven most often stands for all of them.
    again = world.of("broker_refused")[1]
    assert {first["position"], again["position"]} & sent[1].keys() == {again["position"]}
    assert sent[1].items() <= sent[0].items(), "the same dead letter redriven twice is the same event"
    assert len(sent[0]) == sum(case.id is not None for case in CASES.values())
    # Trap: what Kafka did not take in time is answered as well, and published from the spool.
    eventually(lambda: is_publishing(world.ingress.url), within=60)
    assert_published(world, before, [*sent[0].values(), *sent[1].values()])

    # A contact that was erased is let in again otherwise, as the explanation says.
    assert world.bridge("erase", "--lift", "--contact", ERASED, BRIDGE_SUPPRESSION_KEY=KEY).returncode == 0
    erased = row("m-erased", service="whatsapp", contact_address=ERASED)
    eventually(lambda: post(world.ingress.url, erased).status_code == 202, every=0.3)


def planned(world: World) -> dict[tuple[str, str], str]:
    """Return, by the reason, the id of the event that redriving would send, or why it would send none."""
    plan = world.dead_letters("redrive", "--json")
    assert plan.returncode == 0, plan.stderr
    found: dict[tuple[str, str], str] = {}
    # Of an event that became a dead letter again the last one counts.
    for letter in sorted(map(json.loads, plan.stdout.splitlines()), key=lambda letter: letter["redriven"]):
        verdict = letter["redrive"]
        found[letter["origin"], letter["reason"]] = verdict["id"] if verdict["possible"] else verdict["why"]
    return found
