"""Fetching the files of a bundle, each of them checked against the lock file."""

import errno
import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from bridge.local.errors import ArtifactError, ChecksumError
from bridge.local.lockfile import Artifact, Bundle
from bridge.local.maven import Repository

CONNECTIONS = 6
TIMEOUT_SECONDS = (10, 60)  # to connect, between two reads
_CHUNK_BYTES = 1 << 18

Advance = Callable[[int], None]
"""Told how many more bytes are there; from several threads, and negative when bytes had to be given up."""


def download(bundle: Bundle, directory: Path, repository: Repository, advance: Advance) -> None:
    """Bring every file of `bundle` into `directory`.

    A file has its own name only once its sha256 has been verified, so what is there already is not fetched again, and a file
    that was cut off is continued. ArtifactError (offline, refused, disk full) or ChecksumError tells which file failed.
    """
    directory.mkdir(parents=True, exist_ok=True)
    failed = threading.Event()

    def fetch(artifact: Artifact) -> None:
        target = directory / artifact.filename
        if failed.is_set():
            return
        if target.exists():
            advance(artifact.size)
            return
        try:
            _fetch(artifact, target, repository, advance)
        except BaseException:
            failed.set()
            raise

    with ThreadPoolExecutor(CONNECTIONS, thread_name_prefix="download") as pool:
        try:
            for _ in pool.map(fetch, bundle.artifacts):
                pass
        except BaseException:  # Ctrl-C too: the other threads must not go on with their queue
            failed.set()
            raise


def _fetch(artifact: Artifact, target: Path, repository: Repository, advance: Advance) -> None:
    partial = target.with_name(f"{target.name}.partial")
    try:
        sha256 = _receive(artifact, partial, repository, advance)
    except requests.RequestException as error:
        msg = f"{artifact.coordinate} cannot be fetched from {repository.url}: {error}"
        raise ArtifactError(msg) from error
    except OSError as error:
        reason = "the disk is full" if error.errno == errno.ENOSPC else str(error)
        msg = f"{artifact.coordinate} ({artifact.size} bytes) cannot be stored in {target.parent}: {reason}"
        raise ArtifactError(msg) from error
    if sha256 != artifact.sha256:
        partial.unlink()
        raise ChecksumError(artifact.coordinate, expected=artifact.sha256, actual=sha256)
    partial.replace(target)


def _receive(artifact: Artifact, partial: Path, repository: Repository, advance: Advance) -> str:
    """Fetch the rest of a partial file, and return the sha256 of the whole."""
    sha256 = hashlib.sha256()
    with partial.open("a+b") as file:
        file.seek(0)
        while chunk := file.read(_CHUNK_BYTES):
            sha256.update(chunk)
        held = file.tell()
        advance(held)
        if held == artifact.size:
            return sha256.hexdigest()
        with requests.get(
            f"{repository.url}/{artifact.path}",
            auth=repository.credentials,
            headers={"Range": f"bytes={held}-"} if held else {},
            stream=True,
            timeout=TIMEOUT_SECONDS,
        ) as response:
            response.raise_for_status()
            if response.status_code != requests.codes.partial:
                file.truncate(0)
                sha256 = hashlib.sha256()
                advance(-held)
            for chunk in response.iter_content(_CHUNK_BYTES):
                file.write(chunk)
                sha256.update(chunk)
                advance(len(chunk))
    return sha256.hexdigest()
