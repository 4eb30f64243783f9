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
from support.join_outcome import await_committed

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sql.md").read_text("utf-8")
BLOCKS, FLINK = (
    dict(re.findall(rf"^```sql {engine} (\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    for engine in ("duckdb", "flink")
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
    this_week = datetime.now(UTC).date() - timedelta(days=datetime.now(UTC).weekday())
    assert weeks == {
        (early.id, "2026-05-04"): (3, 3, 20.0),
        (late.id, "2026-05-11"): (2, 2, 6.0),
        (now.id, str(this_week)): (2, 0, None),
    }
    assert [row[1:5] for row in ask("open")] == [(waiting.id, waiting.row["name"], 1, 1)]
    funnel = {row[0]: row[1:] for row in ask("funnel")}
    assert funnel == {early.id: (3, 3, 3, 3, 0), late.id: (3, 2, 2, 2, 1), now.id: (1, 0, 0, 0, 1)}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_flink_answers_the_same_questions(contract, told, tmp_path):
    """With its stock connectors, kafka and upsert-kafka, up to the records that there are now."""
    early, late, now, waiting, failed = told
    here = {
        "'openbsp.": f"'{contract.prefix}",
        "kafka:9092": contract.kafka.bootstrap_servers,
        "http://registry:8081": contract.registry.url,
        ") WITH (": ") WITH (\n  'scan.bounded.mode' = 'latest-offset',",
    }
    answers = flink_sql.ask(
        flink_sql.installed(),
        tmp_path,
        {name: functools.reduce(lambda text, item: text.replace(*item), here.items(), FLINK[name]) for name in FLINK},
    )
    assert answers.keys() == FLINK.keys() - {"status_changes", "conversation_state", "message_state"}
    ((organization, contact, message, at, errors),) = answers["failed"]
    assert (organization, contact, message) == (now.id, waiting.row["contact_address"], failed.id)
    assert "131026" in errors
    said = datetime.fromisoformat(failed.row["status"]["failed"])
    assert datetime.fromisoformat(at) == said.replace(microsecond=said.microsecond // 1000 * 1000)
    today = datetime.now(UTC).date()
    assert {tuple(row) for row in answers["response"]} == {
        (early.id, "2026-05-04", "3", "3", "20.0"),
        (late.id, "2026-05-11", "2", "2", "6.0"),
        (now.id, str(today - timedelta(days=today.weekday())), "2", "0", None),
    }
    assert [row[1:5] for row in answers["open"]] == [[waiting.id, waiting.row["name"], "1", "1"]]
    funnel = {row[0]: [int(count) for count in row[1:]] for row in answers["funnel"]}
    assert funnel == {early.id: [3, 3, 3, 3, 0], late.id: [3, 2, 2, 2, 1], now.id: [1, 0, 0, 0, 1]}
