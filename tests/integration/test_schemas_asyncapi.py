"""The AsyncAPI document in docs/ is valid by the judgement of AsyncAPI's own parser."""

import os
import subprocess
from hashlib import sha256
from pathlib import Path

import pytest

from openbsp.local.artifacts import cache_directory
from support.tools import tool

pytestmark = pytest.mark.integration

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = ("package.json", "package-lock.json", "validate.mjs")
NPM_S = 240


@pytest.fixture(scope="module")
def validator() -> Path:
    """Install the pinned parser into the cache, once, without running any of its scripts."""
    npm = tool("npm", "npm")
    content = {name: (DOCS / "asyncapi" / name).read_bytes() for name in FILES}
    digest = sha256(b"".join(content.values())).hexdigest()[:12]
    directory = cache_directory() / f"asyncapi-{digest}"
    if not (directory / "done").exists():
        directory.mkdir(parents=True, exist_ok=True)
        for name, data in content.items():
            (directory / name).write_bytes(data)
        installed = subprocess.run(
            [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"],
            cwd=directory,
            timeout=NPM_S,
            capture_output=True,
            text=True,
            check=False,
        )
        assert installed.returncode == 0, installed.stderr
        (directory / "done").touch()
    return directory / "validate.mjs"


def faults(validator: Path, document: str) -> list[str]:
    found = subprocess.run(
        ["node", validator],
        input=document,
        timeout=60,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "SCARF_ANALYTICS": "false"},
    )
    assert found.stderr == ""
    assert found.returncode == bool(found.stdout)
    return found.stdout.splitlines()


def test_the_document_is_valid(validator):
    assert faults(validator, (DOCS / "asyncapi.json").read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("right", "wrong"),
    [('"action": "send"', '"action": "sent"'), ('"type": "record"', '"type": "recrod"'), ("#/channels/", "#/canals/")],
)
def test_the_validator_would_find_a_mistake(validator, right, wrong):
    document = (DOCS / "asyncapi.json").read_text("utf-8")
    assert faults(validator, document.replace(right, wrong, 1))
