"""docs/sql.md: each question is asked in DuckDB and Flink, of topics that bridge and worker wrote."""

import functools
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest

from openbsp_testkit import habits
from openbsp_testkit.rows import Conversation, Organization
from support import flink_sql
from support.consume import read_all
from support.guest import make_environment
from support.join_outcome import await_committed

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sql.md").read_text("utf-8")
BLOCKS, FLINK, CLICKHOUSE = (
    dict(re.findall(rf"^```sql {engine} (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    for engine in ("duckdb", "flink", "clickhouse")
)
TOKEN = "token-of-the-tests"
ERRORS = [{"code": 131026, "title": "Message undeliverable"}]


class Post:
    """Posts webhooks to the bridge."""

    def __init__(self, url: str) -> None:
        self._url = f"{url}/webhooks"

    def __call__(self, *webhooks: Any) -> None:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        for webhook in webhooks:
            answer = httpx.post(self._url, content=webhook.body, headers=headers, timeout=10, trust_env=False)
            assert answer.status_code == 202, answer.text


def talk(organization: Organization, post: Post, seconds: float) -> Conversation:
    """Have a contact ask and be answered after so many seconds, and read all of it."""
    chat = organization.conversation()
    asked = datetime.fromisoformat(organization.tick())
    question = chat.incoming(timestamp=asked.isoformat())
    reply = chat.outgoing(timestamp=(asked + timedelta(seconds=seconds)).isoformat())
    post(question.insert, question.receipt("read"), reply.insert)
    post(*(reply.receipt(status) for status in ("sent", "delivered", "read")), chat.insert)
    return chat


def week_of(chat: Conversation) -> str:
    """Return the Monday of the week in which it began: on a Monday that may be the former one."""
    day = datetime.fromisoformat(chat.row["created_at"]).astimezone(UTC).date()
    return str(day - timedelta(days=day.weekday()))


def addresses(contract) -> dict[str, str]:
    """Return what stands on the page for servers and topics, and what is here."""
    return {
        "'openbsp.": f"'{contract.prefix}",
        "kafka:9092": contract.kafka.bootstrap_servers,
        "http://registry:8081": contract.registry.url,
    }


def replaced(text: str, changes: dict[str, str]) -> str:
    return functools.reduce(lambda changed, item: changed.replace(*item), changes.items(), text)


@pytest.fixture
def told(contract, start_bridge, start_streams):
    """Let there be something to ask about."""
    post = Post(start_bridge().url)
    start_streams()
    monday = datetime(2026, 5, 4, tzinfo=UTC)
    early, late = Organization(seed=1, start=monday), Organization(seed=2, start=monday + timedelta(days=7))
    for seconds in (10, 20, 90):
        talk(early, post, seconds)
    talk(late, post, 5)
    now = Organization(seed=3, start=datetime.now(UTC) - timedelta(minutes=30))
    waiting, away, gone = (now.conversation() for _ in range(3))
    post(waiting.incoming().insert, waiting.insert)
    post(away.incoming().insert, away.insert, habits.archived(away))
    removed = gone.incoming()
    post(gone.insert, removed.insert, gone.delete())
    # It is said without its conversation first, and again when that is known.
    failed, old = waiting.outgoing(), talk(late, post, 7).outgoing()
    post(failed.insert, failed.receipt("failed", errors=ERRORS), old.insert, old.receipt("failed", errors=ERRORS))
    post(*habits.scheduled(waiting).webhooks)
    await_committed(contract)
    return early, late, now, waiting, failed


@pytest.fixture
def asked(contract, told, tmp_path, monkeypatch):
    """Export the topics with a stock client, and return a function that asks a question of the page in DuckDB."""
    environment = {
        "KAFKA_BOOTSTRAP_SERVERS": contract.kafka.bootstrap_servers,
        "SCHEMA_REGISTRY_URL": contract.registry.url,
        "TOPIC_PREFIX": contract.prefix,
    }
    for topic in ("conversation-state", "message-state", "status-changes"):
        command = [sys.executable, ROOT / "examples" / "python" / "topic_to_json_lines.py", topic]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        (tmp_path / f"{topic}.jsonl").write_text(done.stdout, "utf-8")
    monkeypatch.chdir(tmp_path)
    with duckdb.connect() as connection:
        connection.execute(BLOCKS["setup"])
        yield lambda name: connection.execute(BLOCKS[name]).fetchall(), told


def test_the_questions_of_the_page_are_answered(asked):
    ask, (early, late, now, waiting, failed) = asked
    assert set(BLOCKS) == {"setup", "failed", "response", "open", "funnel"}
    ((organization, contact, message, at, errors),) = ask("failed")
    assert (organization, contact, message) == (now.id, waiting.row["contact_address"], failed.id)
    assert [error.replace(" ", "") for error in errors] == ['{"code":131026,"title":"Messageundeliverable"}']
    assert at.replace(tzinfo=UTC) == datetime.fromisoformat(failed.row["status"]["failed"])
    weeks = {(row[0], str(row[1])): row[2:] for row in ask("response")}
    assert weeks == {
        (early.id, "2026-05-04"): (3, 3, 20.0),
        (late.id, "2026-05-11"): (2, 2, 6.0),
        (now.id, week_of(waiting)): (2, 0, None),
    }
    assert [row[1:5] for row in ask("open")] == [(waiting.id, waiting.row["name"], 1, 1)]
    funnel = {row[0]: row[1:] for row in ask("funnel")}
    assert funnel == {early.id: (3, 3, 3, 3, 0), late.id: (3, 2, 2, 2, 1), now.id: (1, 0, 0, 0, 1)}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_flink_answers_the_same_questions(contract, told, tmp_path):
    """With its stock connectors, kafka and upsert-kafka, up to the records that there are now."""
    early, late, now, waiting, failed = told
    bounded = {") WITH (": ") WITH (\n  'scan.bounded.mode' = 'latest-offset',"}
    answers = flink_sql.ask(
        tmp_path,
        {name: replaced(FLINK[name], addresses(contract) | bounded) for name in FLINK},
    )
    assert answers.keys() == FLINK.keys() - {"status_changes", "conversation_state", "message_state"}
    ((organization, contact, message, at, errors),) = answers["failed"]
    assert (organization, contact, message) == (now.id, waiting.row["contact_address"], failed.id)
    assert "131026" in errors
    said = datetime.fromisoformat(failed.row["status"]["failed"])
    assert datetime.fromisoformat(at) == said.replace(microsecond=said.microsecond // 1000 * 1000)
    assert {tuple(row) for row in answers["response"]} == {
        (early.id, "2026-05-04", "3", "3", "20.0"),
        (late.id, "2026-05-11", "2", "2", "6.0"),
        (now.id, week_of(waiting), "2", "0", None),
    }
    assert [row[1:5] for row in answers["open"]] == [[waiting.id, waiting.row["name"], "1", "1"]]
    funnel = {row[0]: [int(count) for count in row[1:]] for row in answers["funnel"]}
    assert funnel == {early.id: [3, 3, 3, 3, 0], late.id: [3, 2, 2, 2, 1], now.id: [1, 0, 0, 0, 1]}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_clickhouse_keeps_each_fact_once(contract, told, tmp_path):
    """It decodes the values into the columns of the page's Kafka table; only a server's engine would fetch them."""
    *_, now, _, failed = told
    assert set(CLICKHOUSE) == {"status_changes", "failed"}
    (columns,) = re.findall(r"CREATE TABLE status_changes_queue \((.*?)\n\) ENGINE", PAGE, re.DOTALL)
    records = read_all(contract.kafka.bootstrap_servers, contract.topic("status-changes"))
    (tmp_path / "values").write_bytes(b"".join(record.value() for record in records))
    insert = f"""INSERT INTO status_changes SELECT * FROM file('{tmp_path}/values', 'AvroConfluent', $${columns}$$)
        SETTINGS format_avro_schema_registry_url = '{contract.registry.url}'"""
    python = make_environment(tmp_path / "venv", "chdb-core==26.9.0", options=("--no-deps",))
    statements = [
        CLICKHOUSE["status_changes"],
        insert,
        CLICKHOUSE["failed"],
        "SELECT count(), uniq(id) FROM status_changes FINAL",
    ]
    program = "import sys; from chdb.session import Session; s = Session(sys.argv[1])\n"
    program += "for text in sys.argv[2:]: sys.stdout.write(str(s.query(text, 'TSV')))"
    command = [python, "-c", program, tmp_path / "data", *(text.strip().rstrip(";") for text in statements)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    line, counts = done.stdout.splitlines()
    organization, message, at, errors = line.split("\t")
    assert (organization, message) == (now.id, failed.id)
    assert datetime.fromisoformat(at).replace(tzinfo=UTC) == datetime.fromisoformat(failed.row["status"]["failed"])
    assert "131026" in errors
    kept, different = counts.split("\t")
    assert kept == different
    assert int(kept) < len(records)
