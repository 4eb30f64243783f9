"""Kafka Connect writes the conversations that bridge and worker wrote into a file, as docs/sql.md shows it."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest

from openbsp_testkit.rows import Organization
from support.join_outcome import await_committed
from support.maven import installed
from support.tools import tool
from support.wait import eventually

pytestmark = [pytest.mark.integration, pytest.mark.long, pytest.mark.timeout(900)]

PAGE = Path(__file__).parents[2] / "docs" / "sql.md"
TOKEN = "token-of-the-tests"


@pytest.fixture
def start_connect(contract, tmp_path):
    """Start a worker with the page's properties, for the servers and topics here; return the file that it writes."""
    page = PAGE.read_text("utf-8")
    here = {
        "kafka:9092": contract.kafka.bootstrap_servers,
        "http://registry:8080/apis/registry/v2": contract.registry.url.replace("/ccompat/v7", "/registry/v2"),
        "127.0.0.1:8083": "127.0.0.1:0",
        "/var/lib/connect": str(tmp_path),
        "openbsp.": contract.prefix,
    }
    files = []
    for kind in ("worker", "sink"):
        (text,) = re.findall(rf"^```properties {kind}\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
        for former, own in here.items():
            text = text.replace(former, own)
        files.append(tmp_path / f"{kind}.properties")
        files[-1].write_text(text, "utf-8")
    command = [tool("java", "default-jre-headless"), "-Xmx512m", "-cp", f"{installed('connect')}/jars/*"]
    command += ["org.apache.kafka.connect.cli.ConnectStandalone", *files]
    with (tmp_path / "log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as running:
        yield tmp_path / "conversations.txt"
        running.terminate()
    print((tmp_path / "log").read_text("utf-8")[-4000:])


@pytest.fixture
def written(contract, start_bridge, start_streams):
    """Let one conversation stay and another be removed."""
    url = f"{start_bridge().url}/webhooks"
    start_streams()
    organization = Organization()
    stays, goes = organization.conversation(), organization.conversation()
    headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
    for webhook in (stays.insert, stays.incoming().insert, goes.insert):
        answer = httpx.post(url, content=webhook.body, headers=headers, timeout=10, trust_env=False)
        assert answer.status_code == 202
    await_committed(contract)
    answer = httpx.post(url, content=goes.delete().body, headers=headers, timeout=10, trust_env=False)
    assert answer.status_code == 202
    await_committed(contract)
    return stays


def test_connect_writes_states_and_removals(written, start_connect):
    def state_beside_a_removal() -> str:
        lines = start_connect.read_text("utf-8").splitlines() if start_connect.exists() else []
        assert "null" in lines
        return next((line for line in lines if f"id={written.id}," in line and "incoming_count=1" in line), "")

    state = eventually(state_beside_a_removal, within=90)
    assert "unread_count=1" in state
    # Microseconds, as a number.
    assert re.search(r"last_incoming_at=\d{16},", state)
