"""docs/views.md: each call is made, and its answer is the one on the page.

After a change: `BRIDGE_WRITE_DOCS=1` has this test write the answers into the page instead of comparing them.
"""

import json
import os
import re
import shutil
import subprocess
import threading
from pathlib import Path

import pytest

from support.guest import make_environment

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "views.md"
#: A call, and after it what it answers.
CALL = re.compile(r"^```sh run\n(.*?)^```\n\n```(json|text)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)

TOKEN = "token-of-the-tests"
OTHERS = "token-of-another-organization"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_page_shows_what_is_answered(contract, start_bridge, start_streams, tmp_path):
    bridge = start_bridge()
    views = start_streams(STREAMS_TOKENS=f"tests={TOKEN},others={OTHERS}@somebody-else", STREAMS_READ_TIMEOUT_S="5")
    page = PAGE.read_text("utf-8")
    calls = list(CALL.finditer(page))
    assert len(calls) == page.count("```sh run")
    environment = {
        **os.environ,
        "BRIDGE": bridge.url,
        "VIEWS": views.url,
        "TOKEN": TOKEN,
        "READER": TOKEN,
        "OTHERS": OTHERS,
        "no_proxy": "*",
    }
    written = page
    for call in calls:
        command, kind, expected = call.groups()
        answer = _run(command.replace("openbsp.", contract.prefix), environment).replace(contract.prefix, "openbsp.")
        if kind == "json":
            found = _documents(answer)
            environment |= {"CURSOR": found[-1].get("next_cursor") or ""}
            shown = "".join(json.dumps(one, ensure_ascii=False, indent=_indent(found)) + "\n" for one in found)
            same = bool(expected) and found == _documents(expected)
        else:
            shown = _without_times(answer)
            same = shown == expected
        if "BRIDGE_WRITE_DOCS" in os.environ:
            written = written.replace(call[0], call[0].replace(f"```{kind}\n{expected}", f"```{kind}\n{shown}"), 1)
        else:
            assert same, f"{command}\n{shown}"
    _run_program(re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL), environment, tmp_path)
    if written != page:
        PAGE.write_text(written, "utf-8")


def _run_program(programs: list[str], environment: dict[str, str], directory: Path) -> None:
    """Run the page's program in an environment with what the page names, until it has printed that it is ready."""
    (program,) = programs
    python = make_environment(directory / "venv", "httpx", "httpx-sse")
    command = [python, "-W", "error", "-c", program]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as running:
        assert running.stdout is not None
        assert running.stderr is not None
        deadline = threading.Timer(30, running.kill)
        deadline.start()
        line = ""
        while (line := running.stdout.readline()) and not line.startswith("ready "):
            pass
        running.kill()
        deadline.cancel()
        assert line, running.stderr.read()


def _run(command: str, environment: dict[str, str]) -> str:
    result = subprocess.run(
        ["bash", "-c", command],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    # A stream is left when its time is over.
    assert result.returncode == (28 if "-sN" in command else 0), result.stderr
    return result.stdout


def _documents(text: str) -> list[dict]:
    found, decoder, rest = [], json.JSONDecoder(), text.strip()
    while rest:
        document, end = decoder.raw_decode(rest)
        found.append(document)
        rest = rest[end:].strip()
    return found


def _indent(documents: list[dict]) -> int | None:
    return 2 if len(documents) == 1 else None


def _without_times(stream: str) -> str:
    """Return a stream's text with ids as if all was told at the same moment, after the same number of writes."""

    def same(found: re.Match[str]) -> str:
        return re.sub(r":[1-9]\d*", ":5", found[1]) + "@1778124563~5f0c2a91d37e"

    return re.sub(r"^(id: .*)@\d+~[0-9a-f]+$", same, stream, flags=re.MULTILINE).rstrip("\n") + "\n"
