"""The cache of programs: only files that the lock file names get in, and what is in needs no network."""

import errno
import hashlib
import io
import tarfile
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from openbsp.local.artifacts import ensure_bundle
from openbsp.local.errors import ArtifactError, ChecksumError
from openbsp.local.lockfile import LOCK_FILE, Artifact, Bundle, read_lock, write_lock

PROGRAM = b"the program" * 100_000


class MavenRepository:
    """A repository on 127.0.0.1 that serves `files` (path -> content), honours Range, and counts requests."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.requests: list[tuple[str, str | None]] = []
        self.cut_after: int | None = None
        repository = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                repository.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01})
        self.thread.start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.requests.append((handler.path, handler.headers["Range"]))
        content = self.files.get(handler.path.removeprefix("/"))
        if content is None:
            handler.send_error(404)
            return
        start = int((handler.headers["Range"] or "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        handler.send_response(206 if start else 200)
        handler.send_header("Content-Length", str(len(content) - start))
        handler.end_headers()
        handler.wfile.write(content[start : self.cut_after])

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def publish(self, coordinate: str, content: bytes) -> Artifact:
        artifact = Artifact(coordinate, hashlib.sha256(content).hexdigest(), len(content))
        self.files[artifact.path] = content
        return artifact


@pytest.fixture
def repository(monkeypatch: pytest.MonkeyPatch) -> Iterator[MavenRepository]:
    repository = MavenRepository()
    monkeypatch.setenv("OPENBSP_BRIDGE_MAVEN_REPOSITORY", repository.url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield repository
    repository.close()


@pytest.fixture
def bundle(repository: MavenRepository) -> Bundle:
    return Bundle(
        "program",
        (
            repository.publish("org.example:program:jar:1.2", PROGRAM),
            repository.publish("org.example.sub:library:jar:3", b"a library"),
        ),
    )


def test_files_are_fetched_by_their_path_in_a_maven_repository(
    repository: MavenRepository, bundle: Bundle, tmp_path: Path
) -> None:
    directory = ensure_bundle(bundle, tmp_path)
    assert (directory / "program-1.2.jar").read_bytes() == PROGRAM
    assert (directory / "library-3.jar").read_bytes() == b"a library"
    assert {path for path, _ in repository.requests} == {
        "/org/example/program/1.2/program-1.2.jar",
        "/org/example/sub/library/3/library-3.jar",
    }


def test_what_is_in_the_cache_needs_no_network(repository: MavenRepository, bundle: Bundle, tmp_path: Path) -> None:
    directory = ensure_bundle(bundle, tmp_path)
    repository.requests.clear()
    assert ensure_bundle(bundle, tmp_path) == directory
    assert repository.requests == []


def test_a_tampered_file_is_refused_by_name_and_does_not_stay(
    repository: MavenRepository, bundle: Bundle, tmp_path: Path
) -> None:
    library = bundle.artifacts[1]
    repository.files[library.path] = b"A LIBRARY"
    with pytest.raises(ChecksumError, match=r"org\.example\.sub:library:jar:3") as refusal:
        ensure_bundle(bundle, tmp_path)
    assert refusal.value.expected == library.sha256
    assert refusal.value.actual == hashlib.sha256(b"A LIBRARY").hexdigest()
    assert list(tmp_path.rglob("library*")) == []

    repository.files[library.path] = b"a library"
    assert (ensure_bundle(bundle, tmp_path) / "library-3.jar").read_bytes() == b"a library"


def test_a_file_longer_than_locked_is_refused(repository: MavenRepository, bundle: Bundle, tmp_path: Path) -> None:
    repository.files[bundle.artifacts[1].path] += b"!"
    with pytest.raises(ChecksumError):
        ensure_bundle(bundle, tmp_path)


def test_a_fetch_that_was_cut_off_is_continued(repository: MavenRepository, bundle: Bundle, tmp_path: Path) -> None:
    repository.cut_after = 600_000
    with pytest.raises(ArtifactError, match=r"org\.example:program:jar:1\.2 cannot be fetched"):
        ensure_bundle(bundle, tmp_path)
    repository.cut_after = None
    repository.requests.clear()
    directory = ensure_bundle(bundle, tmp_path)
    assert (directory / "program-1.2.jar").read_bytes() == PROGRAM
    ranges = dict(repository.requests)
    first_byte = int(
        (ranges["/org/example/program/1.2/program-1.2.jar"] or "").removeprefix("bytes=").removesuffix("-")
    )
    assert 500_000 < first_byte <= 600_000


def test_a_file_that_was_cut_short_in_the_cache_is_fetched_again(bundle: Bundle, tmp_path: Path) -> None:
    directory = ensure_bundle(bundle, tmp_path)
    (directory / "library-3.jar").write_bytes(b"a lib")
    assert (ensure_bundle(bundle, tmp_path) / "library-3.jar").read_bytes() == b"a library"


def test_archives_are_unpacked(repository: MavenRepository, tmp_path: Path) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as tar:
        member = tarfile.TarInfo("lib/main.jar")
        member.size = 4
        tar.addfile(member, io.BytesIO(b"main"))
    bundle = Bundle("app", (repository.publish("org.example:app:tar.gz:all:3.0", archive.getvalue()),))
    directory = ensure_bundle(bundle, tmp_path)
    assert (directory / "lib" / "main.jar").read_bytes() == b"main"
    assert repository.requests == [("/org/example/app/3.0/app-3.0-all.tar.gz", None)]
    (directory / "lib" / "main.jar").unlink()
    assert (ensure_bundle(bundle, tmp_path) / "lib" / "main.jar").exists()


def test_another_lock_is_another_directory(repository: MavenRepository, bundle: Bundle, tmp_path: Path) -> None:
    other = Bundle("program", (bundle.artifacts[0], repository.publish("org.example.sub:library:jar:4", b"newer")))
    assert ensure_bundle(bundle, tmp_path) != ensure_bundle(other, tmp_path)


def test_those_who_ask_at_the_same_time_share_one_download(
    repository: MavenRepository, bundle: Bundle, tmp_path: Path
) -> None:
    with ThreadPoolExecutor(4) as pool:
        directories = list(pool.map(lambda _: ensure_bundle(bundle, tmp_path), range(4)))
    assert len(set(directories)) == 1
    assert len(repository.requests) == len(bundle.artifacts)


def test_offline_at_the_first_start_names_the_file_and_the_repository(
    repository: MavenRepository, bundle: Bundle, tmp_path: Path
) -> None:
    repository.server.server_close()
    with pytest.raises(
        ArtifactError, match=rf"org\.example.* cannot be fetched from {repository.url}, the first start needs it"
    ):
        ensure_bundle(bundle, tmp_path)


def test_a_full_disk_is_called_so(bundle: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def replace(path: Path, _: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(path))

    monkeypatch.setattr(Path, "replace", replace)
    with pytest.raises(ArtifactError, match=r"cannot be stored in .*: No space left on device"):
        ensure_bundle(bundle, tmp_path)


def test_a_cache_that_cannot_be_written_is_an_error_with_a_way_out(bundle: Bundle, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ArtifactError, match=r"cannot be stored in .*OPENBSP_BRIDGE_CACHE names another place"):
        ensure_bundle(bundle, tmp_path / "file")


def test_the_lock_file_can_be_read_back(bundle: Bundle, tmp_path: Path) -> None:
    write_lock([bundle], tmp_path / "lock")
    assert read_lock(tmp_path / "lock") == {"program": bundle}


def test_the_lock_of_this_project_is_complete_and_names_no_host() -> None:
    bundles = read_lock()
    assert set(bundles) == {"kafka", "registry"}
    assert "://" not in LOCK_FILE.read_text("utf-8")
    for bundle in bundles.values():
        for artifact in bundle.artifacts:
            assert len(bytes.fromhex(artifact.sha256)) == 32
            assert artifact.size > 0
        filenames = [artifact.filename for artifact in bundle.artifacts]
        assert len(filenames) == len(set(filenames))
    versions = {a.version for a in bundles["kafka"].artifacts if a.coordinate.startswith("org.apache.kafka:")}
    assert versions == {bundles["kafka"].version}
