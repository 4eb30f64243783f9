"""`make run`, as a person sees it."""

import re
import shlex
import signal
import subprocess
from pathlib import Path

import psutil
import pytest

from avro.catalogue import TOPICS
from support.up import BRIDGE
from support.wait import eventually

ROOT = Path(__file__).parents[2]


@pytest.fixture
def demo(tmp_path):
    """Run `bridge demo --stay` until it invites to go on; return the process and its output."""
    output = tmp_path / "output"
    with (
        output.open("wb") as file,
        subprocess.Popen([BRIDGE, "demo", "--stay"], stdout=file, stderr=subprocess.STDOUT) as process,
    ):
        try:

            def invited():
                assert process.poll() is None, output.read_text("utf-8")
                return "Ctrl-C stops everything." in output.read_text("utf-8")

            eventually(invited, within=180)
            yield process, output.read_text("utf-8")
        finally:
            process.send_signal(signal.SIGINT)


def test_the_demo_shows_everything_and_ends_when_told_to(demo):
    process, text = demo
    assert "\x1b" not in text, "a file gets no control codes"
    assert "MISSING" not in text
    for name, topic in TOPICS.items():
        assert (f"topic {name}: " in text) == (not topic.internal)
    assert "topic status-changes: 0" not in text
    assert text.count("disposition published") == 5 + 4
    assert "there is one message, the ghost is gone" in text

    commands = [shlex.split(line) for line in re.findall(r"^  curl .*$", text, re.MULTILINE)]
    assert len(commands) == 2
    ask, send = (
        subprocess.run([*command, "-sf"], capture_output=True, text=True, check=False, cwd=ROOT) for command in commands
    )
    assert (ask.returncode, send.returncode) == (0, 0)
    assert '"message_count":2' in ask.stdout.replace(" ", "")
    assert '"disposition":"published"' in send.stdout.replace(" ", "")

    family = psutil.Process(process.pid).children(recursive=True)
    assert len(family) >= 4
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    # What watches a process that has ended ends a moment later.
    _, left = psutil.wait_procs(family, timeout=30)
    assert left == []
