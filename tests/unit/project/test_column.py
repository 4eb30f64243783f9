"""`make column` puts a column in all its places: done for real columns in a copy of the checkout, and thrown away."""

import os
import re
import shutil
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
#: From a webhook to the views: the column is in its field and no longer in `extra`, in both entities.
THROUGH = """
import json

from streams.views.read import render
from support.shipped import Shipped

shipped = Shipped()
time = "2026-05-06T03:39:25.123456+00:00"
row = {"id": "m", "conversation_id": "c", "organization_id": "o", "created_at": time}
chat = {"id": "c", "organization_id": "o", "created_at": time}
told = {
    "messages": row | {"reply_to": "m0", "seen_at": time, "reactions": [{"by": "a"}], "from": "5"},
    "conversations": chat | {"topic": "t", "pinned": True, "lambda": 10**30},
}
shipped.receive([{"entity": entity, "action": "insert", "data": data} for entity, data in told.items()])
shipped.relay()
message, conversation = shipped.message_states["m"], shipped.conversation_states["c"]
assert (message["reply_to"], message["from"], message["extra"]) == ("m0", "5", {})
assert (message["reactions"], conversation["pinned"]) == ('[{"by":"a"}]', "true")
assert (conversation["topic"], conversation["extra"]) == ("t", {})
shown = json.loads(render.message(message))
assert (shown["reply_to"], shown["seen_at"]) == ("m0", "2026-05-06T03:39:25.123456Z")
assert (shown["reactions"], shown["from"]) == ([{"by": "a"}], "5")
shown = json.loads(render.conversation(conversation))
assert (shown["topic"], shown["pinned"], shown["lambda"]) == ("t", True, 10**30)

from avro.columns import ENTITIES
from avro.rows import to_fields, to_row

person = {"id": "k", "organization_id": "o", "birthday": "2000-01-01", "tags": ["vip"]}
fields = to_fields(ENTITIES["contacts"], person)
assert (fields["birthday"], fields["tags"], fields["extra"]) == ("2000-01-01", '["vip"]', {})
assert to_row(ENTITIES["contacts"], fields) == person
assert "verified_at" in ENTITIES["contacts_addresses"].columns
"""


@pytest.fixture
def checkout(tmp_path):
    """Return a copy of the checkout."""
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).exists():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(checkout, *command):
    """Run Python on the copy's packages."""
    environment = {**os.environ, "PYTHONPATH": f"{checkout}:{checkout / 'tests'}"}
    environment.pop("PYTEST_XDIST_WORKER", None)
    return subprocess.run(
        [sys.executable, *command], cwd=checkout, env=environment, capture_output=True, text=True, check=False
    )


def add(checkout, *arguments):
    return run(checkout, "docs/howto/column.py", *arguments)


def release(checkout):
    schemas = checkout / "avro" / "schemas"
    lock = schemas / "released.lock"
    for path in sorted(schemas.glob("*.avsc")):
        if path.name not in lock.read_text("utf-8"):
            lock.write_text(
                lock.read_text("utf-8") + f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n", "utf-8"
            )


def test_real_columns_stand_everywhere_and_come_from_a_webhook_to_the_views(checkout):
    before = sorted(path.name for path in (checkout / "avro" / "schemas").glob("*.avsc"))
    for column in (
        ("messages", "reply_to", "text"),
        ("messages", "seen_at", "instant"),
        ("messages", "reactions", "json"),
        ("messages", "from", "text"),  # what Python keeps to itself may be the name of a column
        ("conversations", "topic", "text"),
        ("conversations", "pinned", "json"),
        ("conversations", "lambda", "json"),
        ("contacts", "birthday", "text"),
        ("contacts", "tags", "json"),
        ("contacts_addresses", "verified_at", "instant"),
    ):
        done = add(checkout, *column)
        assert (done.returncode, done.stderr) == (0, "")
    new = {path.name for path in (checkout / "avro" / "schemas").glob("*.avsc")} - set(before)
    # Columns that are not released yet share a version.
    assert len(new) == 6
    # What the tool cannot know is asked for: nothing passes before it is final.
    unfinished = run(checkout, "-c", "from avro import compatibility; compatibility.check()")
    assert "not released; when it is final" in unfinished.stderr
    release(checkout)
    for command in (
        ("-c", THROUGH),
        ("docs/generate_topics.py",),
        ("-m", "ruff", "format", "--no-cache", "--quiet", "avro", "streams", "tests/support"),
        ("-m", "ruff", "check", "--no-cache", "avro", "streams/views/read/render.py", "tests/support/received.py"),
        (
            *("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/avro/test_column_check.py"),
            *("tests/unit/avro/test_governance.py", "tests/unit/avro/test_asyncapi.py"),
            "tests/unit/streams/views/test_openapi.py::test_every_example_is_as_its_schema_says",
            "tests/unit/streams/state/test_payloads.py::test_the_reference_model_says_the_same",
        ),
    ):
        done = run(checkout, *command)
        assert done.returncode == 0, done.stdout + done.stderr
    page = (checkout / "docs" / "topics" / "messages.md").read_text("utf-8")
    assert re.search(r"^\| `?reply_to`? \|", page, re.MULTILINE)


@pytest.mark.parametrize(
    ("undo", "fault"),
    [
        ("avro/columns.py", "has a field for it, avro.columns no column"),
        ("streams/views/read/render.py", "test_each_column_is_in_the_views"),
        ("tests/support/received.py", "test_each_column_is_known_to_the_judge"),
    ],
)
def test_each_place_that_is_left_out_is_found(checkout, undo, fault):
    assert add(checkout, "messages", "reply_to", "text").returncode == 0
    release(checkout)
    shutil.copy(ROOT / undo, checkout / undo)
    done = run(checkout, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit/avro/test_column_check.py")
    assert done.returncode == 1
    assert fault in done.stdout


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("chats", "a", "text"), "there is no table 'chats'; there are: messages, conversations, contacts,"),
        (("messages", "a", "number"), "there is no type 'number'; there are: text, instant, json (also for numbers"),
        (("messages", "A b", "text"), "'A b' is no name of a column"),
        (("messages", "", "text"), "'' is no name of a column"),
        (("messages", "thread_id", "text"), "has a field thread_id already"),
        (("messages", "extra", "json"), "has a field extra already, of the column or of its own"),
        (("conversations", "known", "json"), "ConversationState.v3 has a field known already"),
    ],
)
def test_what_cannot_be_added_changes_nothing(arguments, sentence):
    done = run(ROOT, "docs/howto/column.py", *arguments)
    assert done.returncode == 1
    assert sentence in done.stderr
    assert "Traceback" not in done.stderr
