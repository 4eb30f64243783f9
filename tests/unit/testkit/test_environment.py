"""The services' environment: which Python, made once, never half made, and what is said when it cannot be."""

import os
import re
import sys
import zipfile
from pathlib import Path

import pytest

from openbsp_testkit import environment
from openbsp_testkit.environment import LOCK_FILE, cache_directory, clean_environment, services_python
from openbsp_testkit.errors import ServicesError
from openbsp_testkit.options import Options

NAME = "openbsp_stream_bridge-1-py3-none-any.whl"
METADATA = "openbsp_stream_bridge-1.dist-info"


@pytest.fixture
def said():
    return []


@pytest.fixture
def options(tmp_path) -> Options:
    """Make a wheel that has and needs nothing, so that no index is asked."""
    with zipfile.ZipFile(tmp_path / NAME, "w") as wheel:
        wheel.writestr(LOCK_FILE, "# nothing\n")
        wheel.writestr("bridge/__init__.py", "")
        wheel.writestr(f"{METADATA}/METADATA", "Metadata-Version: 2.1\nName: openbsp-stream-bridge\nVersion: 1\n")
        wheel.writestr(f"{METADATA}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{METADATA}/RECORD", "")
    return Options(services=str(tmp_path / NAME), cache=str(tmp_path / "cache"))


def test_it_is_made_once_and_never_half(options, said, monkeypatch):
    python = services_python(options, said.append)
    assert python.exists()
    assert list(python.parents[1].glob("lib/python*/site-packages/bridge"))
    assert len(said) == 1

    (python.parents[1] / "openbsp-complete").unlink()
    (python.parents[1] / "left-over").touch()
    assert services_python(options, said.append) == python
    assert not (python.parents[1] / "left-over").exists()

    monkeypatch.setattr(environment, "_make", lambda *_: pytest.fail("made again"))
    assert services_python(options, said.append) == python


def test_what_pip_conf_says_of_the_teams_installations_does_not_count(options, said, monkeypatch, tmp_path):
    (tmp_path / "constraints.txt").write_text("openbsp-stream-bridge==0\n", "utf-8")
    settings = f"[global]\nconstraint = {tmp_path / 'constraints.txt'}\n[install]\nuser = true\nrequire-hashes = true\n"
    (tmp_path / "pip.conf").write_text(settings, "utf-8")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(tmp_path / "pip.conf"))
    assert services_python(options, said.append).exists()


def test_a_failure_says_what_pip_said_and_what_to_set(options, said):
    wheel = Path(options.services)
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(LOCK_FILE, "no-hash==1\n")
    with pytest.raises(ServicesError, match=r"(?s)OPENBSP_TESTKIT_SERVICES.*hash"):
        services_python(options, said.append)
    assert [path.suffix for path in Path(options.cache).iterdir()] == [".lock"], "what is not whole is removed"


def test_the_parts_that_are_installed_at_the_same_time_leave_no_requirement_out():
    lock_file = (Path(__file__).parents[3] / LOCK_FILE).read_bytes()
    lines = b"".join(environment._pinned(lock_file)).splitlines()
    said = [line for line in lock_file.splitlines() if line and not line.startswith(b"#")]
    assert [line for line in lines if not line.startswith(b"#")] == said
    assert all(re.match(rb"[\w-]+(\[\w+\])?==", line) for line in said if not line.startswith(b" "))


def test_a_wheel_of_something_else_is_an_error(options, said):
    with zipfile.ZipFile(options.services, "w") as archive:
        archive.writestr("bridge/__init__.py", "")
    with pytest.raises(ServicesError, match="not a wheel of the services"):
        services_python(options, said.append)


def test_what_was_not_used_for_long_is_removed(tmp_path):
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "openbsp-complete").touch()
    os.utime(tmp_path / "old" / "openbsp-complete", (0, 0))
    environment._forget_old(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]


def test_a_python_that_is_too_old_or_missing_is_named(options, said, tmp_path):
    old = tmp_path / "python-old"
    old.write_text('#!/bin/sh\necho \'[[3, 10], "3.10", "linux"]\'\n', "utf-8")
    old.chmod(0o755)
    for python, reason in ((old, "is 3.10"), (tmp_path / "nothing", "nothing")):
        chosen = Options(services=options.services, cache=options.cache, python=str(python))
        with pytest.raises(ServicesError, match=f"(?s)3.11 or newer.*{reason}.*OPENBSP_TESTKIT_PYTHON"):
            services_python(chosen, said.append)


def test_a_cache_that_cannot_be_made_is_named(options, said, tmp_path):
    (tmp_path / "file").touch()
    chosen = Options(services=options.services, cache=str(tmp_path / "file"))
    with pytest.raises(ServicesError, match="OPENBSP_TESTKIT_CACHE"):
        services_python(chosen, said.append)


def test_an_environment_that_was_set_is_used_as_it_is(said):
    assert services_python(Options(services=sys.prefix), said.append) == Path(sys.prefix) / "bin" / "python"
    assert said == []


def test_the_cache_is_in_the_users_cache_directory(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/caches")
    assert cache_directory(Options()) == Path("/caches/openbsp-testkit")
    assert cache_directory(Options(cache="/mine")) == Path("/mine")


def test_variables_of_the_teams_python_do_not_reach_the_services(monkeypatch):
    for name in ("PYTHONPATH", "PYTHONWARNINGS", "PYTHONHOME", "VIRTUAL_ENV", "PIP_CONSTRAINT", "PIP_TARGET"):
        monkeypatch.setenv(name, "x")
    monkeypatch.setenv("PIP_INDEX_URL", "https://index.example")
    variables = clean_environment()
    assert not any(name.startswith(("PYTHON", "VIRTUAL_ENV", "PIP_CON", "PIP_TAR")) for name in variables)
    assert variables["PIP_INDEX_URL"] == "https://index.example"
