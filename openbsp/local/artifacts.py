"""The cache of programs: fetched and verified at the first start, later checked by the files' sizes."""

import json
import os
import shutil
import tarfile
from pathlib import Path

from openbsp.local.dirlock import DirectoryLock
from openbsp.local.download import download
from openbsp.local.errors import ArtifactError
from openbsp.local.lockfile import Bundle
from openbsp.local.maven import repository
from openbsp.local.progress import DownloadProgress

CACHE_VARIABLE = "OPENBSP_BRIDGE_CACHE"
"""Environment variable with the cache directory."""

_MANIFEST = "manifest.json"
_LOCK_TIMEOUT_SECONDS = 1800.0


def cache_directory() -> Path:
    """$OPENBSP_BRIDGE_CACHE, else openbsp-bridge in $XDG_CACHE_HOME, else in ~/.cache. May not exist yet."""
    if directory := os.environ.get(CACHE_VARIABLE):
        return Path(directory).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openbsp-bridge"


def ensure_bundle(bundle: Bundle, cache: Path) -> Path:
    """Return the directory with the files of `bundle` (archives unpacked); fetch and verify missing ones.

    Needs no network when they are there: then only the presence and the size of every file is checked, against the
    manifest that was written after the sha256 sums had been verified. Processes that ask at the same time wait for the
    first. ArtifactError says what is missing and why.
    """
    directory = cache / f"{bundle.name}-{bundle.version}-{bundle.digest[:12]}"
    if _is_complete(directory):
        return directory
    work = directory.with_name(f"{directory.name}.work")
    lock = DirectoryLock(work)
    try:
        lock.acquire(_LOCK_TIMEOUT_SECONDS)
        if not _is_complete(directory):
            _fill(bundle, directory, work)
    except OSError as error:
        msg = (
            f"{bundle.name} ({bundle.size / 1e6:.0f} MB, twice that while it is unpacked) cannot be stored in {cache}: "
            f"{error.strerror}; ${CACHE_VARIABLE} names another place"
        )
        raise ArtifactError(msg) from error
    finally:
        lock.release()
    return directory


def _fill(bundle: Bundle, directory: Path, work: Path) -> None:
    files, unpacked = work / "files", work / "unpacked"
    with DownloadProgress(bundle) as progress:
        download(bundle, files, repository(), progress.advance)
    shutil.rmtree(unpacked, ignore_errors=True)
    unpacked.mkdir()
    try:
        for artifact in bundle.artifacts:
            _unpack(files / artifact.filename, unpacked)
        sizes = {
            file.relative_to(unpacked).as_posix(): file.stat().st_size for file in unpacked.rglob("*") if file.is_file()
        }
        (unpacked / _MANIFEST).write_text(json.dumps(sizes, indent=0), "utf-8")
        shutil.rmtree(directory, ignore_errors=True)
        unpacked.rename(directory)
    finally:
        shutil.rmtree(unpacked, ignore_errors=True)  # a half of it is useless, and the disk may be full
    shutil.rmtree(files)


def _unpack(file: Path, directory: Path) -> None:
    if not file.name.endswith(".tar.gz"):
        shutil.copyfile(file, directory / file.name)
        return
    with tarfile.open(file) as archive:
        # Python before 3.11.4 has no filters. They are a second fence: the archive's sum has been verified.
        archive.extraction_filter = getattr(tarfile, "data_filter", lambda member, _: member)
        archive.extractall(directory)  # noqa: S202 - see above


def _is_complete(directory: Path) -> bool:
    try:
        sizes = json.loads((directory / _MANIFEST).read_text("utf-8"))
        return all((directory / name).stat().st_size == size for name, size in sizes.items())
    except (FileNotFoundError, NotADirectoryError, ValueError):  # ValueError: cut off by a power failure
        return False
