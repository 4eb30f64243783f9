"""The process that runs a stack: a script stands for `bridge up`, which ends when its standard input does."""

import multiprocessing
import os
from pathlib import Path

import pytest

from openbsp_testkit import processes
from openbsp_testkit.processes import running

UP = """#!/bin/sh
echo '{"bridge": "here"}'
cat >/dev/null
echo in order >"$0.ended"
"""


@pytest.fixture
def up(tmp_path: Path) -> Path:
    """Return what takes the place of the services' Python."""
    script = tmp_path / "python"
    script.write_text(UP)
    script.chmod(0o755)
    return script


def ended(up: Path) -> str:
    return up.with_name("python.ended").read_text()


def test_it_ends_in_order_with_the_block(up: Path) -> None:
    with running(up, {}) as line:
        assert line == {"bridge": "here"}
    assert ended(up) == "in order\n"


def test_a_consumer_that_a_test_forked_and_left_running_does_not_keep_it_alive(
    up: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "STOP_S", 10.0)
    wait, go = os.pipe()
    # Python 3.14 has another default; a team may choose this one.
    consumer = multiprocessing.get_context("fork").Process(target=os.read, args=(wait, 1))
    try:
        with running(up, {}):
            consumer.start()
        assert consumer.is_alive()
    finally:
        os.write(go, b".")
        consumer.join()
        os.close(wait)
        os.close(go)
    assert ended(up) == "in order\n"
