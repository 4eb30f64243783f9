"""The documentation says what the code does."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from avro.catalogue import TOPICS
from avro.schemas import versions

ROOT = Path(__file__).parents[3]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def test_generated_pages_are_those_of_the_code():
    """After a change of a setting: `make docs`."""
    result = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr


def test_the_pages_of_topics_tell_which_fields_are_new():
    for topic in TOPICS.values():
        if topic.internal:
            continue
        had_first: dict[str, int] = {}
        for schema in versions(topic.schema):
            for field in json.loads(schema.text)["fields"]:
                had_first.setdefault(field["name"], schema.version)
        page = (ROOT / "docs" / "topics" / f"{topic.name}.md").read_text("utf-8")
        told = re.findall(r"^\| `(\w+)` \|.* Since version (\d+)\. \|$", page, re.MULTILINE)
        assert {name: int(version) for name, version in told} == {
            name: version for name, version in had_first.items() if version > 1
        }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_files_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text("utf-8")):
        if "://" not in link:
            assert (page.parent / link).exists(), link


def test_nothing_cites_a_page_that_is_not_there():
    """A reader has only what is in the repository."""
    files = subprocess.run(
        ["git", "ls-files", "*.py", "*.js", "*.yml"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    missing = []
    for name in files.stdout.split():
        text = (ROOT / name).read_text("utf-8")
        cited = re.findall(r"(?<![\w/.*-])((?:[\w-]+/)*[\w-]+\.md)\b", text) if "tests/" not in name else []
        missing += [(name, page) for page in cited if not any((base / page).exists() for base in (ROOT, ROOT / "docs"))]
        missing += [(name, word) for word in re.findall(r"\b(?:DESIGN|FAUST|ENGINE|STYLE|OPENBSP)(?: \d|\.md)", text)]
    assert missing == []


def test_the_site_builds_with_every_link_checked(tmp_path):
    built = subprocess.run(
        [Path(sys.executable).with_name("mkdocs"), "build", "--quiet", "--site-dir", tmp_path],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    assert (tmp_path / "design.html").exists()


def test_the_readme_uses_only_commands_that_ci_runs():
    """`.ci/run` has every line of the README's shell blocks, so each of them is known to work."""
    script = (ROOT / ".ci" / "run").read_text("utf-8")
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / "README.md").read_text("utf-8"), re.MULTILINE | re.DOTALL)
    lines = [line.partition("#")[0].strip() for block in blocks for line in block.splitlines()]
    assert lines
    assert [line for line in lines if line and line not in script] == []


def test_five_commands_of_the_readme_lead_from_a_clone_to_the_first_event():
    """`.ci/run` runs them in this order; what it does in between needs no other command."""
    readme, script = ((ROOT / name).read_text("utf-8") for name in ("README.md", ".ci/run"))
    (block,) = re.findall(r"^```sh\n(make setup\n.*?)^```", readme, re.MULTILINE | re.DOTALL)
    commands = [line.partition(" #")[0].strip() for line in block.splitlines()]
    assert len(commands) == 5
    assert re.search(".*".join(map(re.escape, commands)), script, re.DOTALL)


def test_the_readme_shows_the_consumer_that_ci_runs():
    _, _, code = (ROOT / "examples" / "consume.py").read_text("utf-8").partition('"""\n\n')
    assert f"```python\n{code}```" in (ROOT / "README.md").read_text("utf-8")


def test_the_tests_that_the_page_of_consumers_names_are_there():
    page = (ROOT / "docs" / "consumers.md").read_text("utf-8")
    named = re.findall(r"`((?:tests/\w+/)?test_\w+\.py)`(?:[ \n]+`::(\w+)`)?", page)
    assert len(named) > 8
    for path, function in named:
        file = next(ROOT.glob(path if "/" in path else f"tests/*/{path}"))
        assert f"def {function}" in file.read_text("utf-8")


def test_each_client_of_the_tests_is_in_the_table_of_consumers():
    """The files that read records or views with clients of others."""
    page = (ROOT / "docs" / "consumers.md").read_text("utf-8")
    for name in (
        "test_consumers",
        "test_clients",
        "test_sql",
        "test_connect",
        "test_views_page",
        "test_openapi_client",
    ):
        assert f"{name}.py`" in page
