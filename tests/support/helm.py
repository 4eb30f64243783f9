"""Helm, of the version that is pinned here: built of its Go module where the machine has another or none."""

import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from openbsp.local.artifacts import cache_directory
from support.tools import tool

VERSION = "3.22.0"
CHART = Path(__file__).parents[2] / "deploy" / "helm" / "openbsp-bridge"


def helm() -> Path:
    """Return Helm. The first time on a machine that takes some minutes; it is kept in the project's cache directory."""
    kept = cache_directory() / f"helm-{VERSION}"
    if kept.exists():
        return kept
    go = tool("go", "golang-go")
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=kept.parent) as directory:
        # Go checks the module against its public log of sums.
        subprocess.run(
            [go, "install", "-trimpath", f"helm.sh/helm/v3/cmd/helm@v{VERSION}"],
            env={**os.environ, "GOBIN": directory, "CGO_ENABLED": "0"},
            timeout=1500,
            check=True,
        )
        shutil.move(Path(directory) / "helm", kept)
    return kept


def run(*arguments: str | Path, values: dict[str, Any]) -> subprocess.CompletedProcess[str]:
    """Run Helm on the chart with these values; its output is the result's."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        command = [helm(), *arguments, CHART, "--values", file.name]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def render(values: dict[str, Any], kubernetes: str) -> list[dict[str, Any]]:
    """Return the objects that the chart makes of these values, by `helm template`. AssertionError if it refuses."""
    result = run("template", "release", "--namespace", "bsp", "--kube-version", kubernetes, values=values)
    assert result.returncode == 0, result.stderr
    # The loader in C is ten times as fast.
    return [each for each in yaml.load_all(result.stdout, Loader=yaml.CSafeLoader) if each]


def refusal(values: dict[str, Any], kubernetes: str) -> str:
    """Return why the chart does not render with these values. AssertionError if it does."""
    result = run("template", "release", "--kube-version", kubernetes, values=values)
    assert result.returncode != 0
    return result.stderr
