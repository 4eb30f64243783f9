"""Another team generates a client from /openapi.json, in an environment of its own, and reads the views with it."""

import json
import subprocess
import uuid
from pathlib import Path

import httpx
import pytest

from openbsp_testkit.rows import Organization
from support.guest import make_environment
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


def test_a_generated_client_reads_lists_keys_and_refusals(running_stack: RunningStack, tmp_path: Path):
    organization = Organization()
    chat = organization.conversation(name=f"Contact {uuid.uuid4()}")
    question, reply = chat.incoming("Hello?"), chat.outgoing("This never arrives")
    failure = reply.receipt("failed", errors=[{"code": 131026}])
    for webhook in (chat.insert, question.insert, reply.insert):
        assert running_stack.post(webhook.body).status_code == 202
    receipt = running_stack.post(failure.body).json()
    after = "{topic}:{partition}:{offset}".format(**receipt)
    assert running_stack.view(f"/conversations/{chat.id}?after={after}").status_code == 200

    python = make_environment(tmp_path / "environment", GENERATOR)
    description = tmp_path / "openapi.json"
    description.write_bytes(httpx.get(f"{running_stack.views}/openapi.json", timeout=10, trust_env=False).content)
    generator = [python.with_name("openapi-python-client"), "generate", "--path", description, "--meta", "none"]
    settings = tmp_path / "settings.yml"
    settings.write_text("post_hooks: []\n", "utf-8")
    generated = subprocess.run(
        [*generator, "--output-path", tmp_path / "views_client", "--config", settings, "--fail-on-warning"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert generated.returncode == 0, generated.stdout + generated.stderr
    (tmp_path / "program.py").write_text(PROGRAM, "utf-8")
    arguments = [running_stack.views, running_stack.token, organization.id, chat.id]
    done = subprocess.run(
        [python, "program.py", *arguments],
        cwd=tmp_path,
        env={"PATH": "", "NO_PROXY": "*"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["listed"] == [chat.id]
    assert said["last"] == "This never arrives"
    assert said["messages"] == [reply.id, question.id]
    assert said["failed"] == [[reply.id, [{"code": 131026}]]]
    assert said["missing"] == "not_found"
