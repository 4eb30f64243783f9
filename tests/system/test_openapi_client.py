"""Another team generates a client from /openapi.json, in an environment of its own, and reads the views with it."""

import json
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from openbsp_testkit.rows import Organization
from support.guest import make_environment
from support.npm import installed
from support.tools import tool
from support.up import RunningStack

pytestmark = [pytest.mark.integration, pytest.mark.long]

GENERATOR = "openapi-python-client==0.29.1"
#: What the team writes. Arguments: the address, the token, and the ids of an organization and one of its conversations.
PROGRAM = """
import json, sys
from views_client import AuthenticatedClient
from views_client.api.default import get_conversation, list_all_messages, list_conversations, list_messages
from views_client.models import Conversation, ConversationPage, ListAllMessagesStatus
from views_client.models import ListedMessagePage, MessagePage, Problem

url, token, organization, conversation = sys.argv[1:]
with AuthenticatedClient(base_url=url, token=token) as client:
    page = list_conversations.sync(client=client, organization_id=organization, unread=True, archived=False, limit=10)
    assert isinstance(page, ConversationPage), page
    one = get_conversation.sync(conversation, client=client)
    assert isinstance(one, Conversation), one
    messages = list_messages.sync(conversation, client=client)
    assert isinstance(messages, MessagePage), messages
    status = ListAllMessagesStatus.FAILED
    failed = list_all_messages.sync(client=client, organization_id=organization, status=status)
    assert isinstance(failed, ListedMessagePage), failed
    missing = get_conversation.sync("nope", client=client)
    assert isinstance(missing, Problem), missing
    print(json.dumps({
        "listed": [item.id for item in page.conversations],
        "last": one.last_message.preview,
        "active_at": one.active_at.isoformat(),
        "messages": [item.id for item in messages.messages],
        "failed": [(item.id, item.errors) for item in failed.messages],
        "missing": missing.reason,
    }))
"""


class Asked(NamedTuple):
    """What the programs are asked for, and what they have to say."""

    arguments: list[str]
    said: dict[str, object]


@pytest.fixture
def asked(running_stack: RunningStack) -> Asked:
    organization = Organization()
    chat = organization.conversation(name=f"Contact {uuid.uuid4()}")
    question, reply = chat.incoming("Hello?"), chat.outgoing("This never arrives")
    failure = reply.receipt("failed", errors=[{"code": 131026}])
    for webhook in (chat.insert, question.insert, reply.insert):
        assert running_stack.post(webhook.body).status_code == 202
    receipt = running_stack.post(failure.body).json()
    after = "{topic}:{partition}:{offset}".format(**receipt)
    assert running_stack.view(f"/conversations/{chat.id}?after={after}").status_code == 200
    return Asked(
        [running_stack.views, running_stack.token, organization.id, chat.id],
        {
            "listed": [chat.id],
            "last": "This never arrives",
            "messages": [reply.id, question.id],
            "failed": [[reply.id, [{"code": 131026}]]],
            "missing": "not_found",
        },
    )


def described(views: str, directory: Path) -> Path:
    """Return the file with the views' description."""
    description = directory / "openapi.json"
    description.write_bytes(httpx.get(f"{views}/openapi.json", timeout=10, trust_env=False).content)
    return description


def output(command: list[str | Path], directory: Path, **options: Any) -> str:
    """Return what a command prints."""
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=120, check=False, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_generated_client_in_python_reads_lists_keys_and_refusals(
    running_stack: RunningStack, asked: Asked, tmp_path: Path
):
    python = make_environment(tmp_path / "environment", GENERATOR)
    description = described(running_stack.views, tmp_path)
    generator = [python.with_name("openapi-python-client"), "generate", "--path", description, "--meta", "none"]
    settings = tmp_path / "settings.yml"
    settings.write_text("post_hooks: []\n", "utf-8")
    output(
        [*generator, "--output-path", tmp_path / "views_client", "--config", settings, "--fail-on-warning"], tmp_path
    )
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    answer = output([python, "program.py", *asked.arguments], tmp_path, env={"PATH": "", "NO_PROXY": "*"})
    said = json.loads(answer)
    assert said.pop("active_at")
    assert said == asked.said


def test_so_does_a_client_in_typescript_whose_types_are_generated(
    running_stack: RunningStack, asked: Asked, tmp_path: Path
):
    """The compiler is as strict as it can be: a member that may be null must be looked at before it is used."""
    node = tool("node", "nodejs")
    shutil.copytree(installed("openapi_typescript"), tmp_path, symlinks=True, dirs_exist_ok=True)
    modules = tmp_path / "node_modules"
    description = described(running_stack.views, tmp_path)
    output([node, modules / "openapi-typescript" / "bin" / "cli.js", description, "-o", "views.d.ts"], tmp_path)
    output([node, modules / "typescript" / "bin" / "tsc"], tmp_path)
    assert json.loads(output([node, "program.js", *asked.arguments], tmp_path)) == asked.said
