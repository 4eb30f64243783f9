"""The test kit as a guest: installed from its wheel into environments of other teams, with what those have already."""

import contextlib
import functools
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest

from support.guest import PAGE_FILES, PAGE_TESTS, ROOT, Project, make_environment
from support.wait import eventually

pytestmark = [pytest.mark.integration]

STRICT = {"pytest.ini": "[pytest]\nfilterwarnings = error\n"}
#: Folders of a team with names that our packages have as well, and a test that sees its own in them.
FOLDERS = {
    **{f"{name}/__init__.py": f'OWNER = "team {name}"\n' for name in ("avro", "bridge", "streams", "openbsp")},
    "test_folders.py": "import avro, bridge, openbsp, streams\n\n\ndef test_these_are_ours(openbsp_stack):\n"
    '    assert [m.OWNER for m in (avro, bridge, streams)] == ["team avro", "team bridge", "team streams"]\n'
    '    assert openbsp.OWNER == "team openbsp"\n',
}


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both distributions of this checkout."""
    output = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, ROOT / "deploy" / "dist.py", "--no-image", "--no-sbom", "--output", output], check=True
    )
    return output


@pytest.fixture
def cache(tmp_path: Path) -> Iterator[Path]:
    """Choose an empty cache of the kit, and remove it: it gets 270 MB, and pytest keeps what tests leave."""
    yield tmp_path / "cache"
    shutil.rmtree(tmp_path / "cache", ignore_errors=True)


def wheel(dist: Path, name: str) -> Path:
    (found,) = dist.glob(f"{name}-*.whl")
    return found


def kit(dist: Path, extras: str = "") -> str:
    return f"openbsp-testkit{extras} @ {wheel(dist, 'openbsp_testkit').as_uri()}"


@pytest.mark.timeout(600)
def test_a_team_with_old_pins_and_our_names_runs_the_page(dist, cache, tmp_path):
    """Pytest 7, pydantic 1, Apache's avro, folders called as our packages; the services are beside the kit's wheel."""
    begin = time.monotonic()
    python = make_environment(
        tmp_path / "venv",
        *(kit(dist, "[kafka]"), "pytest==7.4.4", "pydantic==1.10.24", "confluent-kafka[avro,schemaregistry]", "anyio"),
    )
    (tmp_path / "project").mkdir()
    project = Project(
        tmp_path / "project",
        python,
        {**PAGE_FILES, **STRICT, **FOLDERS},
        OPENBSP_TESTKIT_CACHE=str(cache),
        PYTHONPATH=".",
    )
    output = project.pytest()
    print(f"figure: from the installation to a green run: {time.monotonic() - begin:.0f} s")
    assert f"{PAGE_TESTS + 1} passed in " in output
    assert "openbsp stack: local (the extra `containers` is not installed)" in output
    assert f"making an environment for {wheel(dist, 'openbsp_stream_bridge')}" in output
    installed = subprocess.run(
        [python, "-c", "import avro.schema, avro.errors, pydantic; print(pydantic.VERSION, avro.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stdout
    assert installed.startswith("1.10.24")
    assert "venv" in installed


def test_the_services_refuse_to_start_on_a_foreign_avro(dist, tmp_path):
    """With a sentence, where Apache's was installed over ours, and where it was uninstalled again."""
    services = str(wheel(dist, "openbsp_stream_bridge"))
    python = make_environment(tmp_path / "venv", services, options=("--no-deps",))
    for arguments in (["install", "--no-deps", "avro"], ["uninstall", "avro"]):
        command = [Path(sys.executable).with_name("uv"), "pip", *arguments, "--quiet", "--python", python]
        subprocess.run(command, check=True)
        for program in ("bridge", "streams"):
            result = subprocess.run([python.with_name(program), "--help"], capture_output=True, text=True, check=False)
            assert result.returncode == 2, result.stderr
            assert result.stderr.startswith(f"{program}: the package `avro` ")
            assert len(result.stderr.splitlines()) == 1


KILLED = """
import json, os, pathlib, time

def test_that_never_ends(openbsp_stack, send_webhook):
    from openbsp_testkit.rows import Organization
    send_webhook(Organization().conversation().insert)
    pathlib.Path("ready.new").write_text(json.dumps(openbsp_stack.addresses.bridge))
    os.rename("ready.new", "ready")
    time.sleep(600)
"""


def none_lives(processes: list[psutil.Process]) -> bool:
    """Raise AssertionError with status and command line of those that have not ended. A zombie has ended."""
    living = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess), process.oneshot():
            # Trap: psutil says of a zombie that it runs. Orphans are reaped by whoever adopts them, if at all.
            if process.status() != psutil.STATUS_ZOMBIE:
                living.append(f"{process.pid} {process.status()}: {' '.join(process.cmdline())}")
    assert living == []
    return True


def test_nothing_is_left_when_pytest_is_killed(tmp_path):
    """No process and no file, although nothing could be told to end."""
    (tmp_path / "project").mkdir()
    (tmp_path / "tmp").mkdir()
    project = Project(
        tmp_path / "project",
        sys.executable,
        {"test_killed.py": KILLED},
        OPENBSP_TESTKIT_BACKEND="local",
        TMPDIR=str(tmp_path / "tmp"),
    )
    log = tmp_path / "log"
    with log.open("wb") as output:
        command = project.command()
        pytest_run = subprocess.Popen(
            command, cwd=project.directory, env=project.environment, stdout=output, stderr=output
        )
    with pytest_run:
        try:
            eventually((project.directory / "ready").exists, within=240)
            processes = psutil.Process(pytest_run.pid).children(recursive=True)
            assert len(processes) >= 5
            assert any((tmp_path / "tmp").iterdir())
        finally:
            pytest_run.send_signal(signal.SIGKILL)
    eventually(lambda: none_lives(processes), within=60)
    # pytest's own files of its tests stay, as it wants it.
    left = [path.name for path in (tmp_path / "tmp").iterdir() if not path.name.startswith("pytest-of-")]
    assert left == [], log.read_text("utf-8")


ASYNC = """
import pytest
from openbsp_testkit.errors import MissingPackageError, UnknownTopicError
from openbsp_testkit.rows import Organization


@pytest.mark.asyncio
async def test_with_pytest_asyncio(openbsp_stack, fake_sender, send_webhook):
    chat = Organization().conversation()
    assert send_webhook(chat.insert)["disposition"] == "published"
    deliveries = await fake_sender.send_async([chat.incoming().insert for _ in range(300)])
    assert not any(delivery.lost for delivery in deliveries)
    receipt = await openbsp_stack.send_async(chat.outgoing().insert)
    after = f"{receipt['topic']}:{receipt['partition']}:{receipt['offset']}"
    answer = await openbsp_stack.view_async(f"/conversations/{chat.id}?after={after}")
    assert answer.json()["outgoing_count"] == 1


@pytest.mark.anyio
async def test_with_anyio(anyio_backend, send_webhook, fake_sender):
    chat = Organization().conversation()
    assert send_webhook(chat.insert)["disposition"] == "published"
    assert not any(delivery.lost for delivery in fake_sender.send([chat.incoming().insert]))


def test_a_topic_needs_a_client(topic):
    with pytest.raises(MissingPackageError, match="openbsp-testkit.kafka"):
        topic("messages")


def test_a_topic_that_is_not_there(topic):
    with pytest.raises(UnknownTopicError, match="conversation-state, conversations, dead-letters"):
        topic("nope")
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_an_old_python_without_a_kafka_client_and_with_asynchronous_tests(dist, cache, tmp_path):
    """Python 3.10 where there is one; the services get a newer one. anyio runs its test on asyncio and on trio."""
    (tmp_path / "project").mkdir()
    python = make_environment(tmp_path / "venv", kit(dist), "pytest-asyncio", "anyio", "trio", python=_oldest_python())
    strict = STRICT["pytest.ini"] + "asyncio_default_fixture_loop_scope = function\n"
    files = {"test_async.py": ASYNC, "pytest.ini": strict}
    project = Project(tmp_path / "project", python, files, OPENBSP_TESTKIT_CACHE=str(cache))
    assert "5 passed in " in project.pytest(seconds=600)


SMOKE = """
from openbsp_testkit.rows import Organization

def test_it_answers(send_webhook):
    assert send_webhook(Organization().conversation().insert)["disposition"] == "published"
"""


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_kit_from_a_repository_takes_the_services_from_the_same_commit(cache, tmp_path):
    command = [shutil.which("git"), "-C", ROOT, "rev-parse", "HEAD"]
    commit = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    repository = f"git+{ROOT.as_uri()}@{commit}"
    python = make_environment(tmp_path / "venv", f"openbsp-testkit @ {repository}#subdirectory=testkit")
    (tmp_path / "project").mkdir()
    files = {"test_smoke.py": SMOKE, **STRICT}
    project = Project(tmp_path / "project", python, files, OPENBSP_TESTKIT_CACHE=str(cache))
    output = project.pytest(seconds=600)
    assert f"making an environment for {repository}" in output


@pytest.fixture
def index(dist: Path, tmp_path: Path) -> Iterator[str]:
    """Serve both wheels as a private index: a directory for each project, whose listing is its page."""
    for path in dist.glob("*.whl"):
        project = tmp_path / "index" / path.name.partition("-")[0].replace("_", "-")
        project.mkdir(parents=True)
        shutil.copy(path, project)
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "index"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_kit_from_a_private_index_takes_the_services_from_the_same_index(index, cache, tmp_path):
    """The index is one of those that pip is configured for, here by a variable; the wheels are nowhere else."""
    begin = time.monotonic()
    python = make_environment(tmp_path / "venv", "pip")
    settings = {"PIP_EXTRA_INDEX_URL": index, "PIP_NO_CACHE_DIR": "1"}
    command = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "openbsp-testkit"]
    subprocess.run(command, env={**os.environ, **settings}, timeout=300, check=True)
    (tmp_path / "project").mkdir()
    files = {"test_smoke.py": SMOKE, **STRICT}
    project = Project(tmp_path / "project", python, files, OPENBSP_TESTKIT_CACHE=str(cache), **settings)
    output = project.pytest(seconds=600)
    print(f"figure: from the installation to a green run: {time.monotonic() - begin:.0f} s")
    assert "making an environment for openbsp-stream-bridge==" in output


XDIST = """
import pytest

@pytest.mark.parametrize("number", range(8))
def test_a_stack(number, openbsp_stack, topic, send_webhook, record_property):
    from openbsp_testkit.rows import Organization
    conversations = topic("conversations")
    chat = Organization().conversation()
    send_webhook(chat.insert)
    (record,) = conversations.take(1)
    assert record.key == chat.id
    with open("addresses", "a") as file:
        file.write(openbsp_stack.addresses.kafka + "\\n")

@pytest.mark.parametrize("number", range(8))
def test_no_stack(number):
    pass
"""


@pytest.mark.long
@pytest.mark.timeout(600)
def test_each_worker_of_xdist_has_a_stack(tmp_path):
    project = Project(tmp_path, sys.executable, {"test_xdist.py": XDIST, **STRICT}, OPENBSP_TESTKIT_BACKEND="local")
    output = project.pytest("-n", "2")
    assert "16 passed in " in output
    assert "openbsp stack: local (as set)" in output
    assert len(set((tmp_path / "addresses").read_text("utf-8").split())) == 2


@pytest.mark.long
@pytest.mark.timeout(600)
def test_one_worker_of_xdist_has_all_tests_with_a_stack_if_they_go_by_group(dist, tmp_path):
    """With pytest 8: xdist 3.8 does not find its groups under pytest 9.2."""
    python = make_environment(tmp_path / "venv", kit(dist, "[kafka]"), "pytest<9", "pytest-xdist")
    (tmp_path / "project").mkdir()
    files = {"test_xdist.py": XDIST, **STRICT}
    project = Project(tmp_path / "project", python, files, OPENBSP_TESTKIT_SERVICES=sys.prefix)
    assert "16 passed in " in project.pytest("-n", "2", "--dist", "loadgroup")
    assert len(set((tmp_path / "project" / "addresses").read_text("utf-8").split())) == 1


def _oldest_python() -> str:
    """Return a Python 3.10, or the one of these tests where there is none."""
    installed = [shutil.which("python3.10"), *sorted(Path.home().glob(".pyenv/versions/3.10.*/bin/python"))]
    for candidate in filter(None, installed):
        # A shim may be there without its Python.
        if subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return str(candidate)
    return sys.executable
