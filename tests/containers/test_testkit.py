"""The test kit in containers: what docs/test-your-consumer.md shows, and that nothing of it is left."""

import signal
import subprocess
import sys
from contextlib import closing

import docker
import pytest

from support.guest import PAGE_FILES, PAGE_TESTS, Project
from support.wait import eventually

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("own_image")]

STRICT = {"pytest.ini": "[pytest]\nfilterwarnings = error\n"}
WANTED = {"OPENBSP_TESTKIT_BACKEND": "containers"}
#: Ryuk is off, and the addresses are those of the published ports.
ALONE = {"TESTCONTAINERS_RYUK_DISABLED": "true", "TESTCONTAINERS_CONNECTION_MODE": "docker_host"}

KILLED = """
import os, pathlib, time

def test_that_never_ends(openbsp_stack):
    pathlib.Path("ready.new").write_text(openbsp_stack.network.name)
    os.rename("ready.new", "ready")
    time.sleep(600)
"""


def test_the_page_works_as_it_stands(tmp_path):
    """In a directory with nothing but its files, with warnings as errors, and the output says where the stack ran."""
    output = Project(tmp_path, sys.executable, {**PAGE_FILES, **STRICT}, **WANTED, **ALONE).pytest()
    assert "openbsp stack: containers (as set)" in output
    assert "Ryuk is off (it was switched off" in output
    assert f"{PAGE_TESTS} passed in " in output


def test_nothing_is_left_when_pytest_is_killed_without_ryuk(tmp_path):
    project = Project(tmp_path, sys.executable, {"test_killed.py": KILLED}, **WANTED, **ALONE)
    with subprocess.Popen(project.command("-s"), cwd=tmp_path, env=project.environment) as pytest_run:
        try:
            eventually((tmp_path / "ready").exists, within=240)
        finally:
            pytest_run.send_signal(signal.SIGKILL)
    network = (tmp_path / "ready").read_text("utf-8")
    with closing(docker.from_env()) as client:
        eventually(lambda: not client.networks.list(names=[network]), within=60)
        eventually(lambda: not client.containers.list(all=True, filters={"network": network}), within=60)
