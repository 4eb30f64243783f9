"""`streams worker`: how it starts or does not, and what its log never says."""

import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from support.join import program
from support.wait import eventually

LINES = [
    pytest.param(["streams", "worker"], id="streams"),
    pytest.param(["faust", "-A", "streams.program", "worker"], id="faust"),
]


@pytest.fixture(params=LINES)
def start(request, tmp_path, unused_port):
    """Start a worker whose broker never answers, in each way there is; end it after the test."""
    started = []

    def call(port):
        variables = {
            "STREAMS_HOST": "127.0.0.1",
            "STREAMS_PORT": str(port),
            "STREAMS_DATA_DIR": str(tmp_path),
            "STREAMS_TOKENS": "all=a-token-that-is-long-enough",
            "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{unused_port}",
        }
        command = [sys.executable, "-m", *request.param]
        process = subprocess.Popen(command, env=os.environ | variables, stderr=subprocess.PIPE, text=True)
        started.append(process)
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def test_a_port_that_is_taken_is_named(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(port)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert err == f"streams: 127.0.0.1:{port}: Address already in use\n"


def test_a_worker_that_waits_for_a_broker_stops_at_once(start):
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    process = start(port)
    eventually(lambda: answers(port), within=60)
    process.send_signal(signal.SIGTERM)
    began = time.monotonic()
    process.communicate(timeout=60)
    assert process.returncode == 0
    assert time.monotonic() - began < 8, "it asked a broker that may take 15 s"


def answers(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1) as connection:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
            return connection.recv(100).startswith(b"HTTP/1.1 200")
    except OSError:
        return False


@pytest.mark.parametrize("command", ["agents", "tables"])
def test_fausts_command_line_lists_the_program(command):
    app = program()
    assert len(app.agents) == 5
    assert len(app.tables) == 4
    named = {
        "agents": [*app.agents, *app.source_topics, "publish each new status"],
        "tables": [*app.tables, "merged column by column"],
    }[command]
    variables = {
        "STREAMS_TOKENS": "all=a-token-that-is-long-enough",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "COLUMNS": "300",
    }
    line = [sys.executable, "-m", "faust", "-A", "streams.program", command]
    done = subprocess.run(line, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    for text in named:
        assert text in done.stdout + done.stderr


#: Runs a command line in which `serve` does something else.
_SERVING = """
import os, runpy, signal, sys
import streams.serve

async def serve(*_):
    {does}

streams.serve.serve = serve
module, *sys.argv[1:] = sys.argv[1:]
runpy.run_module(f"{{module}}.__main__", run_name="__main__", alter_sys=True)
"""


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize(
    ("does", "code", "logged"),
    [
        ("os.kill(os.getpid(), signal.SIGTERM)", 0, ""),
        ("raise OSError('no room')", 3, "process.failed"),
    ],
    ids=["asked to end", "failed"],
)
def test_both_ways_to_start_end_alike(line, does, code, logged):
    command = [sys.executable, "-c", _SERVING.format(does=does), *line]
    environment = os.environ | {"STREAMS_TOKENS": "all=a-token-that-is-long-enough"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == code, done.stderr
    assert logged in done.stdout


@pytest.mark.parametrize("line", LINES)
def test_a_setting_that_cannot_be_is_told_with_where_all_are_listed(line):
    environment = os.environ | {"STREAMS_PORT": "none"}
    command = [sys.executable, "-m", *line]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert done.stderr.startswith("streams: the settings are not usable:\n  STREAMS_PORT: ")
    assert done.stderr.endswith("\nall settings: streams settings\n")
