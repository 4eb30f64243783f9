"""`bridge tap` follows a topic of a real broker, ends in order, and leaves no trace in it; `bridge top` looks."""

import json
import signal
import subprocess
import sys

import httpx
import pytest
from confluent_kafka.admin import AdminClient

from openbsp.kafka.reading import GROUP
from support.environment import clean_environment

pytestmark = pytest.mark.integration

TOKEN = "token-of-the-tests"


def command(contract, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "bridge", *arguments],
        env={**clean_environment(), **contract.environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_records_are_printed_as_they_come_until_ctrl_c(contract, start_bridge):
    bridge = start_bridge()

    def post(key: str, direction: str) -> None:
        row = {"id": key, "direction": direction, "content": {"type": "text", "text": "\x1b[2J"}}
        body = {"entity": "messages", "action": "insert", "data": row}
        headers = {"Authorization": f"Bearer {TOKEN}"}
        answer = httpx.post(f"{bridge.url}/webhooks", json=body, headers=headers, timeout=10, trust_env=False)
        assert answer.status_code == 202

    post("m1", "incoming")
    post("m2", "outgoing")
    with command(
        contract, "tap", "messages", "--from", "beginning", "--where", "direction=incoming", "--json"
    ) as following:
        first = json.loads(following.stdout.readline())
        post("m3", "outgoing")
        post("m4", "incoming")
        second = json.loads(following.stdout.readline())
        following.send_signal(signal.SIGINT)
        rest, errors = following.communicate(timeout=30)
    assert [first["key"], second["key"]] == ["m1", "m4"]
    assert first["value"]["direction"] == "incoming"
    assert first["headers"]["ce_type"] == "openbsp.messages.insert"
    assert (following.returncode, rest, errors) == (0, "", "")
    with command(contract, "tap", "messages", "--from", "1h", "--where", "key=m2", "--max", "1") as shown:
        text, errors = shown.communicate(timeout=30)
    assert (shown.returncode, errors) == (0, "")
    assert "  direction  outgoing\n" in text
    assert "\x1b" not in text
    shown = command(contract, "top", "--once", "--every", "0.2", "--bridge", bridge.url, "--bridge-token", TOKEN)
    text, _ = shown.communicate(timeout=30)
    assert shown.returncode == 1, "no worker runs"
    assert f"{bridge.url}  ready" in text
    assert "does not answer: ConnectError" in text
    groups = AdminClient(contract.kafka.librdkafka()).list_consumer_groups(request_timeout=10).result()
    assert GROUP not in {group.group_id for group in groups.valid}
