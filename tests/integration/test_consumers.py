"""The consumers in examples/ do what they say, each run as another team would run it."""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from operator import itemgetter
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from avro import examples
from avro.catalogue import TOPICS
from avro.cloudevents import header_maker
from avro.codec import encoder
from avro.identity import status_change_event_id
from avro.promises import PROMISES
from avro.schemas import latest
from openbsp.kafka.registry import Registry
from support.consume import AvroReader, headers_of, read_all
from support.environment import clean_environment
from support.guest import make_environment
from support.join_cases import inserted, opened, status_of
from support.join_outcome import await_committed, states
from support.tools import tool
from support.wait import eventually

pytestmark = pytest.mark.integration

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"
SCHEMAS = EXAMPLES.parent / "avro" / "schemas"
TOKEN = "token-of-the-tests"
RUN_S = 280
#: Maven writes some even where there is no terminal.
COLOURS = re.compile(r"\x1b\[[0-9;]*m")


@pytest.fixture(scope="module", autouse=True)
def python_of_the_examples(tmp_path_factory):
    """Have `python` be one with what the examples' requirements name, and nothing of the project."""
    requirements = ("--requirement", str(EXAMPLES / "python" / "requirements.txt"))
    python = make_environment(tmp_path_factory.mktemp("examples") / "venv", *requirements)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{python.parent}:{os.environ['PATH']}")
        yield


@pytest.fixture(autouse=True)
def groups_have_a_coordinator(contract):
    """Have a new broker make the topic of groups: aiokafka warns as long as it is not there."""
    asking = {**contract.kafka.librdkafka(), "group.id": f"{contract.prefix}anybody", "log_level": 0}
    with closing(Consumer(asking)) as consumer:

        def found() -> bool:
            try:
                return bool(consumer.committed([TopicPartition(contract.topic("status-changes"), 0)], timeout=10))
            except KafkaException:
                return False

        assert eventually(found)


@pytest.fixture
def topic_names() -> list[str]:
    return ["status-changes", "conversation-state"]


class Writer:
    """Writes records as the project does, and tombstones as an operator does."""

    def __init__(self, contract) -> None:
        self._contract = contract
        with Registry(contract.registry, contract.prefix) as registry:
            self._ids = registry.ids()
        # It compresses as the project does.
        self._producer = Producer({**contract.kafka.producer(), "partitioner": "murmur2_random", "log_level": 0})

    def write(self, topic: str, value: Mapping[str, Any] | None, key: str | None = None) -> None:
        """Write a value, given as an example is written."""
        record = str(TOPICS[topic].schema)
        if value is None:
            encoded, headers = None, []
        else:
            fields = examples.to_fields(latest(record), dict(value))
            key = fields["conversation_id"] if topic == "status-changes" else fields["id"]
            encoded = encoder(record, self._ids[record])(fields)
            headers = header_maker("tests", PROMISES[topic].event_types[0])(event_id(topic, fields), fields["id"], 0)
        self._producer.produce(self._contract.topic(topic), encoded, key, headers=headers)
        assert self._producer.flush(10) == 0


def event_id(topic: str, fields: Mapping[str, Any]) -> str:
    """Return the `ce_id` of a value; of a state any will do."""
    if topic != "status-changes":
        return fields["id"]
    known = fields.get("conversation") is not None
    return status_change_event_id(fields["message_id"], fields["status"], conversation_known=known)


@pytest.fixture
def writer(contract) -> Writer:
    return Writer(contract)


def accepted(record: str) -> list[dict[str, Any]]:
    return [example.value for example in examples.load(latest(record)).accepted]


def environment(contract, **variables: str) -> dict[str, str]:
    return {
        **clean_environment(),
        "KAFKA_BOOTSTRAP_SERVERS": contract.kafka.bootstrap_servers,
        "SCHEMA_REGISTRY_URL": contract.registry.url,
        "TOPIC_PREFIX": contract.prefix,
        **variables,
    }


def run(command: list[str | Path], contract, cwd: Path = EXAMPLES, **variables: str) -> list[str]:
    """Run an example up to the end of its topic and return what it printed."""
    done = subprocess.run(
        command,
        cwd=cwd,
        env=environment(contract, UNTIL_END="1", GROUP_ID=f"{contract.prefix}{Path(command[-1]).stem}", **variables),
        timeout=RUN_S,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert COLOURS.sub("", done.stderr) == ""
    return COLOURS.sub("", done.stdout).splitlines()


# -- those that follow status-changes


@pytest.fixture
def changes(writer) -> list[dict[str, Any]]:
    """Write changes; the first one twice, as delivery is at least once."""
    first, *others = accepted("StatusChange")
    for change in (first, first, *others):
        writer.write("status-changes", change)
    return [first, *others]


def test_python_with_confluent_kafka_and_its_stock_deserializer(contract, changes):
    printed = [json.loads(line) for line in run(["python", "python/follow_confluent.py"], contract)]
    fields = [field["name"] for field in json.loads(latest("StatusChange").text)["fields"]]
    expected = [
        {name: change.get(name) for name in fields} | {"at": change["at"].replace("T", " ")} for change in changes
    ]
    assert sorted(printed, key=itemgetter("id")) == sorted(expected, key=itemgetter("id"))


def test_python_with_aiokafka_and_fastavro(contract, changes):
    printed = [json.loads(line) for line in run(["python", "python/follow_aiokafka.py"], contract)]
    assert sorted(record["id"] for record in printed) == sorted(change["id"] for change in changes)


@pytest.mark.parametrize("script", ["follow_confluent.py", "follow_aiokafka.py"])
def test_a_second_run_goes_on_where_the_first_one_ended(contract, writer, changes, script):
    run(["python", f"python/{script}"], contract)
    writer.write("status-changes", changes[0] | {"id": "a-later-one"})
    (line,) = run(["python", f"python/{script}"], contract)
    assert json.loads(line)["id"] == "a-later-one"


@pytest.mark.parametrize("version", [None, 1], ids=["as written", "compiled against version 1"])
def test_java_with_apache_avro(contract, changes, tmp_path, version):
    maven = tool("mvn", "maven")
    project = tmp_path / "java"
    shutil.copytree(EXAMPLES / "java", project)
    own = {} if version is None else {"READER_SCHEMA": str(SCHEMAS / f"StatusChange.v{version}.avsc")}
    command = [maven, "-q", "-B", "-ntp", "compile", "exec:java"]
    printed = [json.loads(line) for line in run(command, contract, cwd=project, **own)]
    failed = next(change for change in changes if change["status"] == "failed")
    errors = next(record.pop("errors", None) for record in printed if record["id"] == failed["id"])
    assert errors == (None if version == 1 else f"[{', '.join(failed['errors'])}]")
    expected = {name: changes[0][name] for name in ("id", "message_id", "conversation_id", "status")} | {
        "at": changes[0]["at"].replace("+00:00", "Z")
    }
    assert printed.count(expected) == 1
    assert {record["id"] for record in printed} == {change["id"] for change in changes}


def test_kcat_shows_keys_and_headers(contract, changes):
    tool("kcat", "kcat")
    lines = run(["sh", "kcat/follow.sh"], contract)
    assert len(lines) == len(changes) + 1
    for change in changes:
        ce_id = event_id("status-changes", change)
        assert [line for line in lines if change["conversation_id"] in line and f"ce_id={ce_id}" in line]


def test_a_change_that_comes_again_with_its_conversation_is_another_event_of_the_same_fact(contract, writer):
    change = next(value for value in accepted("StatusChange") if value["status"] == "failed")
    for told in (change | {"conversation": None}, change, change):
        writer.write("status-changes", told)
    first, second = (json.loads(line) for line in run(["python", "python/follow_confluent.py"], contract))
    assert (first["conversation"], first["id"]) == (None, change["id"])
    assert (second["conversation"], second["id"]) == (change["conversation"], change["id"])


def test_what_failed_in_the_last_hour_and_why(contract, writer):
    change = next(value for value in accepted("StatusChange") if value["status"] == "failed")
    now = datetime.now(UTC)
    change |= {"at": (now - timedelta(minutes=1)).isoformat()}
    organization = change["organization_id"]
    earlier = change | {"id": "early", "message_id": "early", "at": (now - timedelta(hours=2)).isoformat()}
    foreign = change | {"id": "foreign", "organization_id": "another"}
    sent = change | {"id": "sent", "status": "sent", "errors": None}
    incoming = change | {"id": "incoming", "message_id": "incoming", "direction": "incoming"}
    both = change | {"id": "both", "status": "error"}
    alone = both | {"id": "alone", "message_id": "alone", "at": (now - timedelta(minutes=2)).isoformat()}
    alone |= {"conversation": None}
    twice = (change | {"conversation": None}, change, both, change | {"conversation": None}, both)
    for told in (earlier, foreign, sent, incoming, alone | {"errors": None}, alone, *twice):
        writer.write("status-changes", told)
    script = ["python", EXAMPLES / "python" / "failed_messages.py", organization]
    done = subprocess.run(script, env=environment(contract), timeout=RUN_S, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    line, other = done.stdout.splitlines()
    told = json.loads(other)
    assert (told["message_id"], told["errors"]) == ("alone", [json.loads(error) for error in change["errors"]])
    assert json.loads(line) == {
        "message_id": change["message_id"],
        "conversation_id": change["conversation_id"],
        "contact_address": change["conversation"]["contact_address"],
        "at": change["at"],
        "errors": [json.loads(error) for error in change["errors"]],
    }


def test_a_topic_whose_first_records_are_gone_is_written_from_what_is_left(contract, writer):
    """As any event topic after its retention: offset 0 is no longer there."""
    change = accepted("StatusChange")[0]
    for number in range(3):
        writer.write("status-changes", change | {"id": f"change-{number}"})
    script = ["python", "python/topic_to_json_lines.py", "status-changes"]
    first, *rest = run(script, contract)
    topic, partition = contract.topic("status-changes"), json.loads(first)["partition"]
    admin = AdminClient({**contract.kafka.librdkafka(), "log_level": 0})
    (removed,) = admin.delete_records([TopicPartition(topic, partition, json.loads(first)["offset"] + 1)]).values()
    removed.result(30)
    assert [json.loads(line)["value"]["id"] for line in rest] == ["change-1", "change-2"]
    assert run(script, contract) == rest


# -- the table


def table_of(path: Path) -> dict[str, dict[str, Any]]:
    with closing(sqlite3.connect(path)) as database:
        database.row_factory = sqlite3.Row
        if not database.execute("SELECT * FROM sqlite_master WHERE name = 'conversations'").fetchone():
            return {}
        return {row["id"]: dict(row) for row in database.execute("SELECT * FROM conversations")}


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute(statement)
        database.commit()


def update(contract, path: Path) -> dict[str, dict[str, Any]]:
    assert run(["python", "python/conversation_table.py", path], contract) == []
    return table_of(path)


def test_the_table_has_the_newest_state_of_each_conversation(contract, writer, tmp_path):
    documented, *others = accepted("ConversationState")
    for state in (documented | {"status": "open", "message_count": 1}, documented, *others):
        writer.write("conversation-state", state)
    table = update(contract, tmp_path / "table.db")
    assert table.keys() == {state["id"] for state in (documented, *others)}
    assert table[documented["id"]] == {
        "id": documented["id"],
        "organization_id": "00438702-d4a3-4411-9141-21febf13acbb",
        "service": "whatsapp",
        "contact_address": "5215588392274",
        "name": None,
        "status": "closed",
        "message_count": 2,
        "unread_count": 1,
        "awaiting_reply": 0,
        "last_message_at": "2026-05-06T03:39:25+00:00",
        "last_preview": "Hi! How can I help you today?",
    }


def test_a_tombstone_deletes_its_row_and_a_later_state_brings_it_back(contract, writer, tmp_path):
    state = accepted("ConversationState")[0]
    writer.write("conversation-state", state)
    assert update(contract, tmp_path / "table.db").keys() == {state["id"]}
    writer.write("conversation-state", None, state["id"])
    assert update(contract, tmp_path / "table.db") == {}
    writer.write("conversation-state", state)
    assert update(contract, tmp_path / "table.db").keys() == {state["id"]}


def test_a_table_whose_program_is_killed_at_any_moment_ends_up_right(contract, writer, tmp_path):
    state = accepted("ConversationState")[0]
    path = tmp_path / "table.db"
    script = ["python", "python/conversation_table.py", path]
    for number in range(20):
        writer.write("conversation-state", state | {"id": f"c{number}"})
    for start in (5, 15):
        with subprocess.Popen(script, cwd=EXAMPLES, env=environment(contract)) as process:
            writer.write("conversation-state", state | {"id": f"seen-{start}"})
            eventually(lambda start=start: path.exists() and f"seen-{start}" in table_of(path))
            for number in range(start, start + 5):
                writer.write("conversation-state", None, f"c{number}")
                writer.write("conversation-state", state | {"id": f"d{number}", "message_count": number})
            process.send_signal(signal.SIGKILL)
    table = update(contract, path)
    gone = {f"c{number}" for number in (*range(5, 10), *range(15, 20))}
    came = {f"d{number}": number for number in (*range(5, 10), *range(15, 20))}
    assert table.keys() == {f"c{number}" for number in range(20)} - gone | came.keys() | {"seen-5", "seen-15"}
    assert {name: row["message_count"] for name, row in table.items() if name in came} == came


def test_a_table_that_may_have_missed_a_deletion_is_built_anew(contract, writer, tmp_path):
    state = accepted("ConversationState")[0]
    path = tmp_path / "table.db"
    writer.write("conversation-state", state)
    update(contract, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute(
            "INSERT INTO conversations SELECT 'deleted-long-ago', * FROM (SELECT 1, 1, 1, 1, 1, 1, 1, 1, 1, 1)"
        )
        database.execute("UPDATE progress SET complete_at = complete_at - 100000")
        database.commit()
    assert update(contract, path).keys() == {state["id"]}


def test_a_table_whose_program_stood_still_for_long_while_it_ran_is_built_anew(contract, writer, tmp_path):
    """As that of a computer that was suspended: it is not started again, and reads on where it was."""
    state = accepted("ConversationState")[0]
    path = tmp_path / "table.db"
    writer.write("conversation-state", state)
    script = ["python", "python/conversation_table.py", path]
    is_old = "'deleted-meanwhile' IN (SELECT id FROM conversations)"
    aged = f"UPDATE progress SET complete_at = complete_at - 100000 WHERE {is_old}"
    with subprocess.Popen(script, cwd=EXAMPLES, env=environment(contract)) as process:
        try:
            eventually(lambda: path.exists() and table_of(path).keys() == {state["id"]})
            change(path, "UPDATE conversations SET id = 'deleted-meanwhile'")
            # Again and again: the program may just have been saying that the table is complete.
            eventually(lambda: change(path, aged) is None and table_of(path).keys() == {state["id"]})
        finally:
            process.kill()


def test_a_position_that_the_topic_no_longer_has_makes_the_table_anew(contract, writer, tmp_path):
    state = accepted("ConversationState")[0]
    path = tmp_path / "table.db"
    writer.write("conversation-state", state)
    update(contract, path)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE positions SET next_offset = 1000")
        database.commit()
    assert update(contract, path).keys() == {state["id"]}


# -- what bridge and worker write


@pytest.mark.parametrize("topic_names", [TOPICS], ids=["all topics"])
def test_they_read_what_bridge_and_worker_really_write(contract, start_bridge, start_streams, tmp_path):
    """As they write it unless told otherwise: its headers, its schema ids, its compression."""
    bridge, _ = start_bridge(), start_streams()
    named, failed = opened("c1", 1), status_of("m1", "failed", 5)
    # Larger than what a single record needs to be worth compressing; status changes have it as well.
    named["data"]["name"] = "a long name " * 80
    failed["data"]["status"]["errors"] = [{"code": 131026}]
    rows = [named, opened("c2", 1), inserted("m1", "c1", "outgoing", 2), inserted("m2", "c2", "incoming", 3)]
    headers = {"Authorization": f"Bearer {TOKEN}"}
    for webhook in (*rows, status_of("m1", "sent", 4), failed):
        answer = httpx.post(f"{bridge.url}/webhooks", json=webhook, headers=headers, timeout=10, trust_env=False)
        assert answer.status_code == 202
    await_committed(contract)
    reader = AvroReader(contract.registry.url)
    changes = read_all(contract.kafka.bootstrap_servers, contract.topic("status-changes"))
    told = {headers_of(change)["ce_id"]: reader.value(change)["id"] for change in changes}
    assert len(set(told.values())) == 4

    path = tmp_path / "table.db"
    with ThreadPoolExecutor() as pool:
        scripts = [
            ["follow_confluent.py"],
            ["follow_aiokafka.py"],
            ["failed_messages.py", "org", "1000000000"],
            ["conversation_table.py", path],
        ]
        runs = [pool.submit(run, ["python", f"python/{script}", *rest], contract) for script, *rest in scripts]
        *followed, failures, kept = [done.result() for done in runs]
    for lines in followed:
        assert sorted(json.loads(line)["id"] for line in lines) == sorted(told.values())
    (failure,) = map(json.loads, failures)
    assert (failure["message_id"], failure["conversation_id"], failure["errors"]) == ("m1", "c1", [{"code": 131026}])
    assert kept == []
    counts = {key: state["message_count"] for key, state in states(contract, "conversation-state").items()}
    assert {key: row["message_count"] for key, row in table_of(path).items()} == counts == {"c1": 1, "c2": 1}


def test_each_example_is_told_of_in_the_readme():
    readme = (EXAMPLES / "README.md").read_text("utf-8")
    for path in (*EXAMPLES.glob("python/*.py"), *EXAMPLES.glob("kcat/*.sh"), EXAMPLES / "java"):
        assert str(path.relative_to(EXAMPLES)) in readme
