"""Fetching the files of a bundle, each of them checked against the lock file."""

import hashlib
import threading
from collections.abc import Callable
from concurrent.futures import FIRST_EXCEPTION, CancelledError, ThreadPoolExecutor, wait
from pathlib import Path

import requests
from requests.adapters import HTTPAdapter
from urllib3.util import Retry

from openbsp.local.errors import ArtifactError, ChecksumError
from openbsp.local.lockfile import Artifact, Bundle
from openbsp.local.maven import Repository

Advance = Callable[[int], None]
"""Called with the number of bytes received, from several threads; negative when bytes are discarded."""

_CONNECTIONS = 6
_TIMEOUT_SECONDS = (10, 60)  # to connect, between two reads
_CHUNK_BYTES = 1 << 18
_RETRY = Retry(total=3, backoff_factor=0.5, status_forcelist=(429, 500, 502, 503, 504))


def download(bundle: Bundle, directory: Path, repository: Repository, advance: Advance) -> None:
    """Download every file of `bundle` into `directory`.

    A file has its final name only once its sha256 has been verified, so existing files are not fetched again, and an
    incomplete one is continued. ArtifactError (offline, refused) and ChecksumError name the file, OSError says what is
    wrong with the disk. Needs the directory for itself.
    """
    directory.mkdir(parents=True, exist_ok=True)
    with requests.Session() as session, ThreadPoolExecutor(_CONNECTIONS, thread_name_prefix="download") as pool:
        session.mount("https://", HTTPAdapter(pool_maxsize=_CONNECTIONS, max_retries=_RETRY))
        fetcher = _Fetcher(session, directory, repository, advance)
        try:
            running = [pool.submit(fetcher.fetch, artifact) for artifact in bundle.artifacts]
            for future in wait(running, return_when=FIRST_EXCEPTION).done:
                future.result()
        finally:  # after an error or Ctrl-C the others must stop
            fetcher.cancelled.set()
            pool.shutdown(cancel_futures=True)


class _Fetcher:
    """Fetches files in several threads until it is cancelled."""

    def __init__(self, session: requests.Session, directory: Path, repository: Repository, advance: Advance) -> None:
        self.cancelled = threading.Event()
        self._session = session
        self._directory = directory
        self._repository = repository
        self._advance = advance

    def fetch(self, artifact: Artifact) -> None:
        """Download one file into the directory, unless it exists."""
        target = self._directory / artifact.filename
        if target.exists():
            self._advance(artifact.size)
            return
        partial = target.with_name(f"{target.name}.partial")
        try:
            sha256 = self._receive(artifact, partial)
        except requests.RequestException as error:
            source = self._repository.url
            msg = f"{artifact.coordinate} cannot be fetched from {source}, the first start needs it: {error}"
            raise ArtifactError(msg) from error
        if sha256 != artifact.sha256:
            partial.unlink()
            raise ChecksumError(artifact.coordinate, expected=artifact.sha256, actual=sha256)
        partial.replace(target)

    def _receive(self, artifact: Artifact, partial: Path) -> str:
        """Download the rest of a partial file, and return the sha256 of the whole."""
        sha256 = hashlib.sha256()
        with partial.open("a+b") as file:
            file.seek(0)
            while chunk := file.read(_CHUNK_BYTES):
                sha256.update(chunk)
            held = file.tell()
            self._advance(held)
            if held >= artifact.size:
                return sha256.hexdigest()
            with self._session.get(
                f"{self._repository.url}/{artifact.path}",
                auth=self._repository.credentials,
                # identity: some servers call a .tar.gz a compressed .tar, and the client would unpack it.
                headers={"Accept-Encoding": "identity"} | ({"Range": f"bytes={held}-"} if held else {}),
                stream=True,
                timeout=_TIMEOUT_SECONDS,
            ) as response:
                response.raise_for_status()
                if held and response.status_code != requests.codes.partial_content:
                    file.truncate(0)
                    sha256 = hashlib.sha256()
                    self._advance(-held)
                for chunk in response.iter_content(_CHUNK_BYTES):
                    if self.cancelled.is_set():
                        raise CancelledError
                    file.write(chunk)
                    sha256.update(chunk)
                    self._advance(len(chunk))
        return sha256.hexdigest()
