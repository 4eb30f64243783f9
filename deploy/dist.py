"""`make dist`: wheels and source distributions of services and test kit, the image, bills of materials, all sums.

SOURCE_DATE_EPOCH is the time in them: that of the commit unless it is set. The same sources give the same wheels.
"""

import argparse
import gzip
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import sbom

ROOT = Path(__file__).parents[1]
DISTRIBUTIONS = (ROOT, ROOT / "testkit")
SUMS = "SHA256SUMS"

_CHUNK = 1 << 20


def main() -> int:
    """Build all into one directory, which has nothing else of ours afterwards."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="directory (default: dist)")
    parser.add_argument("--no-image", action="store_true", help="do not build the image")
    parser.add_argument("--no-sbom", action="store_true", help="write no bills of materials")
    options = parser.parse_args()
    output: Path = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    for old in [*output.glob("openbsp[-_]*"), output / SUMS]:
        old.unlink(missing_ok=True)
    for directory in DISTRIBUTIONS:
        _build(directory, output)
    for archive in output.glob("openbsp[-_]*.tar.gz"):
        _without_traces(archive)
    if not options.no_sbom:
        sbom.write(output, _time())
    if not options.no_image:
        image = _image(output)
        if image is not None and not options.no_sbom:
            sbom.write_of_image(image, output)
    files = sorted(output.glob("openbsp[-_]*"))
    sums = {file.name: _sum(file) for file in files}
    (output / SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sums.items()), "utf-8")
    for file in files:
        _say(f"{sums[file.name]}  {file.stat().st_size / 1e6:8.2f} MB  {file.name}")
    _say(f"{output / SUMS}: check with `sha256sum --check {SUMS}`")
    return 0


def _build(directory: Path, output: Path) -> None:
    """Build the source distribution, and the wheel from that, with the pinned build backend of this environment."""
    subprocess.run(
        [
            Path(sys.executable).with_name("uv"),
            *("build", "--quiet", "--no-build-isolation", "--python", sys.executable, "--out-dir", output, directory),
        ],
        # The same sources give the same wheels, byte for byte.
        env={**os.environ, "SOURCE_DATE_EPOCH": _time()},
        # Trap: wheels have the modes of files, which the umask decides.
        umask=0o022,
        check=True,
    )
    # uv leaves it for its own caches.
    (output / ".gitignore").unlink(missing_ok=True)


def _without_traces(archive: Path) -> None:
    """Write a source distribution again without what differs from machine to machine: times, modes, owners, order."""
    content = io.BytesIO()
    with tarfile.open(archive) as source, tarfile.open(fileobj=content, mode="w", format=tarfile.PAX_FORMAT) as target:
        for member in sorted(source.getmembers(), key=lambda member: member.name):
            plain = tarfile.TarInfo(member.name)
            plain.type, plain.size, plain.mtime = member.type, member.size, int(_time())
            plain.mode = 0o755 if member.isdir() or member.mode & 0o100 else 0o644
            target.addfile(plain, source.extractfile(member) if member.isfile() else None)
    archive.write_bytes(gzip.compress(content.getvalue(), 9, mtime=int(_time())))


def _image(output: Path) -> str | None:
    """Build the image, keep it as a file, and return its name; None where no Docker engine answers."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "info"], capture_output=True, check=False).returncode != 0:
        _say("NO IMAGE: no Docker engine answers, so only wheels and source distributions were built")
        return None
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    name = f"openbsp-stream-bridge:{version}"
    buildx = subprocess.run([docker, "buildx", "version"], capture_output=True, check=False)
    subprocess.run(
        [docker, "build", "--quiet", f"--tag={name}", ROOT],
        env={**os.environ, **({} if buildx.returncode == 0 else {"DOCKER_BUILDKIT": "0"})},
        check=True,
    )
    archive = output / f"openbsp-stream-bridge-{version}-image.tar.gz"
    with (
        subprocess.Popen([docker, "save", name], stdout=subprocess.PIPE) as saving,
        gzip.open(archive, "wb", 6) as file,
    ):
        shutil.copyfileobj(saving.stdout, file, _CHUNK)  # type: ignore[type-var]  # it is a pipe
    if saving.returncode != 0:
        raise SystemExit(f"docker save {name} failed")
    _say(f"{name}: load it with `docker load --input {archive.name}`")
    return name


def _time() -> str:
    if given := os.environ.get("SOURCE_DATE_EPOCH"):
        return given
    git = shutil.which("git")
    if git is not None:
        shown = subprocess.run(
            [git, "-C", ROOT, "log", "-1", "--format=%ct"], capture_output=True, text=True, check=False
        )
        if shown.returncode == 0:
            return shown.stdout.strip()
    return str(int((ROOT / "pyproject.toml").stat().st_mtime))


def _sum(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())
