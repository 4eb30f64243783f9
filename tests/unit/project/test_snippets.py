"""Every fenced block of the documentation is executed by a test, or says just before it why none can.

In front of a block stands `<!-- run by TEST -->` or `<!-- not run: REASON -->`; kinds of blocks that a test finds by
itself stand here. Commands of ours are parsed in any case, so that none has an option that there is not.
"""

import functools
import re
import shlex
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import typer

from bridge.cli import app as bridge
from streams.cli import app as streams

ROOT = Path(__file__).parents[3]
PAGES = sorted(
    [ROOT / "README.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md"), ROOT / "testkit/README.md"]
)
BLOCK = re.compile(
    r"(?:^ *<!-- (?P<mark>run by|not run:) (?P<said>[^\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<kind>[^\n]*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)

#: Of blocks that a test finds by itself: page, kind, and the test.
FOUND = [
    ("README.md", "sh", "tests/unit/project/test_docs.py::test_the_readme_uses_only_commands_that_ci_runs"),
    ("README.md", "python", "tests/unit/project/test_docs.py::test_the_readme_shows_the_consumer_that_ci_runs"),
    ("docs/kubernetes.md", "yaml", "tests/integration/test_chart.py::test_the_values_of_the_page_render"),
    (
        "docs/topics/*.md",
        "json",
        "tests/unit/avro/test_governance.py::test_an_accepted_example_is_written_and_read_back",
    ),
    ("docs/sql.md", "sql flink *", "tests/integration/test_sql.py::test_flink_answers_the_same_questions"),
    *(
        (
            "docs/sql.md",
            f"properties {kind}",
            "tests/integration/test_connect.py::test_connect_writes_states_and_removals",
        )
        for kind in ("worker", "sink")
    ),
    ("docs/sql.md", "sql clickhouse *", "tests/integration/test_sql.py::test_clickhouse_keeps_each_fact_once"),
    ("docs/sql.md", "sql duckdb *", "tests/integration/test_sql.py::test_the_questions_of_the_page_are_answered"),
    (
        "docs/test-your-consumer.md",
        "python file=*",
        "tests/system/test_testkit_guest.py::test_a_team_with_old_pins_and_our_names_runs_the_page",
    ),
    *(
        ("docs/views.md", kind, "tests/integration/test_views_page.py::test_the_page_shows_what_is_answered")
        for kind in ("sh run", "json", "text")
    ),
    ("docs/views.md", "python", "tests/integration/test_views_page.py::test_the_page_shows_what_is_answered"),
]


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    kind: str
    text: str
    mark: str | None
    said: str

    @property
    def test(self) -> str | None:
        """The test that executes it."""
        if self.mark == "run by":
            return self.said
        found = [test for page, kind, test in FOUND if fnmatch(self.page, page) and fnmatch(self.kind, kind)]
        return next(iter(found), None)


def blocks_of(page: str, text: str) -> list[Block]:
    return [
        Block(
            page,
            text.count("\n", 0, found.start("indent")) + 1,
            found["kind"],
            found["text"],
            found["mark"],
            found["said"] or "",
        )
        for found in BLOCK.finditer(text)
    ]


BLOCKS = [block for path in PAGES for block in blocks_of(str(path.relative_to(ROOT)), path.read_text("utf-8"))]
each_block = pytest.mark.parametrize("block", BLOCKS, ids=lambda block: f"{block.page}:{block.line}")


def test_the_blocks_are_all_that_there_are():
    fences = sum(len(re.findall(r"^ *```", path.read_text("utf-8"), re.MULTILINE)) for path in PAGES)
    assert 2 * len(BLOCKS) == fences
    assert len(BLOCKS) > len(FOUND)


@each_block
def test_a_block_is_executed_or_says_why_not(block):
    if block.mark == "not run:":
        assert len(block.said.split()) > 2
        assert block.test is None, f"{block.test} executes it"
        for name in re.findall(r"tests/[\w/]+\.py", block.said):
            assert (ROOT / name).exists(), name
        return
    assert block.test is not None, "name the test that executes it (`<!-- run by TEST -->`), or say why none can"
    path, _, function = block.test.partition("::")
    assert re.search(rf"^(async )?def {function}\b", (ROOT / path).read_text("utf-8"), re.MULTILINE), block.test


def test_a_block_that_says_nothing_is_found():
    silent, said, run = blocks_of(
        "docs/new.md",
        "```sh\nls\n```\n\n<!-- not run: needs a cluster -->\n```sh\nls\n```\n\n1. In a list:\n\n"
        "   <!-- run by tests/a.py::test_b -->\n   ```sh\n   ls\n   ```\n",
    )
    with pytest.raises(AssertionError, match="name the test that executes it"):
        test_a_block_is_executed_or_says_why_not(silent)
    assert (said.mark, said.said, said.line) == ("not run:", "needs a cluster", 6)
    assert (run.test, run.line) == ("tests/a.py::test_b", 13)


# -- commands


def commands() -> list[Any]:
    """Return the commands of ours in all blocks that a shell reads."""
    found = []
    for block in BLOCKS:
        if block.kind not in {"", "sh", "sh run"}:
            continue
        for number, line in enumerate(block.text.replace("\\\n", " ").splitlines()):
            match = re.match(
                r"\s*(?:[A-Z_]+=\S+ )*(?:\.venv/bin/)?((?:bridge|streams) .*)", re.split(r"\s+#\s", line)[0]
            )
            if match and "{" not in line:
                found.append(pytest.param(match[1], id=f"{block.page}:{block.line + 1 + number} {match[1][:50]}"))
    return found


@functools.cache
def program(name: str) -> Any:
    """Return a program whose commands do nothing but read their arguments."""
    found = typer.main.get_command({"bridge": bridge, "streams": streams}[name])
    leaves = _silenced(found)
    assert len(leaves) > 1, "the commands are no longer found, so they would run"
    return found


def _silenced(command: Any) -> list[Any]:
    # Trap: typer's groups are not those of the package click.
    below = getattr(command, "commands", {}).values()
    command.callback = None
    return [leaf for one in below for leaf in _silenced(one)] if below else [command]


@pytest.mark.parametrize("line", commands())
def test_each_command_of_ours_has_the_arguments_that_are_shown(line, monkeypatch, tmp_path):
    words = shlex.split(line.partition(" > ")[0])
    (tmp_path / "report.json").write_text("{}", "utf-8")
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    for name in ("BRIDGE_TOKEN", "OPENBSP_URL", "OPENBSP_ANON_KEY", "OPENBSP_API_KEY"):
        monkeypatch.setenv(name, "set")
    expanded = [
        name for word in words for name in ([str(p) for p in sorted(ROOT.glob(word))] if "*" in word else [word])
    ]
    assert program(words[0])(expanded[1:], standalone_mode=False) is None
