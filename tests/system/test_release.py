"""What is released: the same sources give the same files anywhere, and the bill of materials has what is pinned."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[2]
SOURCES = (
    *("pyproject.toml", "README.md", "LICENSE", "requirements.txt"),
    *("avro", "bridge", "openbsp", "streams", "testkit", "deploy"),
)


def build(checkout: Path, output: Path, umask: int) -> str:
    """Build from a copy of the sources at `checkout`, as somebody with that umask; return the sums."""
    checkout.mkdir(parents=True)
    left_out = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            # Not their times: each file is as old as the copy.
            shutil.copytree(ROOT / name, checkout / name, copy_function=shutil.copy, ignore=left_out)
        else:
            shutil.copy(ROOT / name, checkout)
    command = [sys.executable, checkout / "deploy" / "dist.py", "--no-image", "--no-sbom", "--output", output]
    environment = {**os.environ, "SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, env=environment, umask=umask, check=True)
    return (output / "SHA256SUMS").read_text("utf-8")


def test_the_same_sources_give_the_same_files_byte_for_byte(tmp_path):
    """In other directories, at other times, by somebody whose files others must not read."""
    first = build(tmp_path / "one", tmp_path / "dist-1", 0o022)
    second = build(tmp_path / "elsewhere" / "two", tmp_path / "dist-2", 0o077)
    assert first.count("\n") == 4
    assert first == second


def test_the_bill_of_materials_has_each_pinned_package_with_its_hashes(tmp_path):
    subprocess.run([sys.executable, ROOT / "deploy" / "sbom.py", "--output", tmp_path], check=True)
    (path,) = tmp_path.glob("openbsp-stream-bridge-*.cdx.json")
    bill = json.loads(path.read_text("utf-8"))
    assert bill["bomFormat"] == "CycloneDX"
    assert bill["metadata"]["component"]["name"] == "openbsp-stream-bridge"
    text = (ROOT / "requirements.txt").read_text("utf-8")
    pinned = {
        (match[1], match[2]): set(re.findall(r"--hash=sha256:([0-9a-f]{64})", block))
        for block in re.split(r"\n(?=[a-z])", text)
        if (match := re.match(r"([a-z0-9-]+)(?:\[[^]]*\])?==([^ ;]+)", block))
    }
    found = {
        (each["name"], each["version"]): {
            digest["content"] for reference in each["externalReferences"] for digest in reference["hashes"]
        }
        for each in bill["components"]
    }
    assert len(pinned) > 50
    assert found == pinned
    assert all(each["purl"].startswith("pkg:pypi/") for each in bill["components"])
