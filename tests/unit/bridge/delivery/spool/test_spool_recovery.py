"""What a damaged spool file still has is published, by the commands of the runbook."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from bridge.delivery.spool import leftovers
from bridge.delivery.spool.leftovers import spool_path
from support.fake_kafka import TIMED_OUT, FakeKafka
from support.ingress import message, running_ingress
from support.tools import tool
from support.wait import eventually

RUNBOOK = Path(__file__).parents[5] / "docs" / "runbook.md"
EVENTS = 60


def commands(aside: Path) -> str:
    """Return those of the page, for this file."""
    (block,) = re.findall(r"^```sh\n(damaged=.*?)^```$", RUNBOOK.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    text, count = re.subn(r"^damaged=\S+", f"damaged={aside.name}", block)
    assert count == 1
    return text


def test_events_of_a_damaged_spool_are_published_as_the_runbook_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    tool("sqlite3", "sqlite3")
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    path = spool_path(tmp_path / "spool", 0)
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        for number in range(EVENTS):
            answer = ingress.post(message(f"m{number}", content={"text": "x" * 2000}))
            assert answer.json()["disposition"] == "spooled"
    with path.open("r+b") as raw:
        raw.seek(path.stat().st_size // 4096 // 2 * 4096)
        raw.write(b"\xff" * 4096)
    monkeypatch.setattr(leftovers, "_LOOK_EVERY_S", 0.05)
    kafka.verdict = lambda _: None
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        (aside,) = path.parent.glob("*.damaged-*")
        assert ingress.details()["spool"]["damaged_files"] == 1
        assert kafka.log == []
        environment = {**os.environ, "BRIDGE_SPOOL_DIR": str(path.parent)}
        subprocess.run(["bash", "-ec", commands(aside)], env=environment, check=True)
        eventually(lambda: kafka.log)
        eventually(lambda: ingress.service.spool.events == 0 and not list(path.parent.glob("spool-900.*")))
        assert aside.exists()
    found = {record.key for record in kafka.topic("messages")}
    # A page has one of these events, or two.
    assert EVENTS - 2 <= len(found) < EVENTS
