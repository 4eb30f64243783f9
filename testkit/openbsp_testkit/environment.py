"""The environment of the services: made once of pinned requirements with hashes, and kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from zipfile import ZipFile

from openbsp_testkit.errors import ServicesError
from openbsp_testkit.options import Options, variable
from openbsp_testkit.services import Installed, Source, Wheel, find

LOCK_FILE = "openbsp/local/requirements.txt"
"""In the services' wheel: what they need, pinned, with hashes."""

_OLDEST = (3, 11)
_CANDIDATES = ("python3.13", "python3.12", "python3.11", "python3.14", "python3")
_DESCRIBE = (
    "import json, sys, sysconfig; print(json.dumps([sys.version_info[:2], sys.version, sysconfig.get_platform()]))"
)
_COMPLETE = "openbsp-complete"
_KEPT_DAYS = 60
#: Most of the time is spent in looking at an index and unpacking, of which one pip does one thing at a time.
_PIPS = 2
#: Variables that would change what is installed, or where.
_FOREIGN = re.compile(
    r"PYTHON.*|VIRTUAL_ENV.*|PIP_(CONSTRAINT|REQUIREMENT|TARGET|PREFIX|ROOT|USER|NO_BINARY|NO_DEPS|PRE|EDITABLE)"
)
#: Settings of the team's own pip.conf that apply. Trap: an empty value would leave it as the file has it.
_PIP = {"PIP_CONSTRAINT": os.devnull, "PIP_USER": "0", "PIP_REQUIRE_HASHES": "0"}

Say = Callable[[str], None]


def services_python(options: Options, say: Say) -> Path:
    """Return a Python with the services: that of the configured environment, else of the one made here.

    Making takes half a minute, once for each version; processes that ask at the same time wait for the first one.
    ServicesError.
    """
    source = find(options)
    if isinstance(source, Installed):
        return source.python
    interpreter, description = _interpreter(options)
    key = hashlib.sha256(f"{source.identity}\n{description}".encode()).hexdigest()[:16]
    cache = cache_directory(options)
    directory = cache / key
    try:
        cache.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(cache / f"{key}.lock") as lock:
            if not (directory / _COMPLETE).exists():
                say(f"making an environment for {source}, once, in {directory}")
                try:
                    _make(directory, source, interpreter, lock)
                except BaseException:
                    shutil.rmtree(directory, ignore_errors=True)
                    raise
            (directory / _COMPLETE).touch()
    except OSError as error:
        raise ServicesError(
            f"the services' environment cannot be made in {cache}: {error}; {variable('cache')} names another place"
        ) from error
    _forget_old(cache)
    return directory / "bin" / "python"


def cache_directory(options: Options) -> Path:
    """Return the directory of the environments. It may not exist yet."""
    if options.cache:
        return Path(options.cache).expanduser().absolute()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "openbsp-testkit"


def clean_environment() -> dict[str, str]:
    """Return this process's variables except those about its Python, which is not the services'."""
    return {name: value for name, value in os.environ.items() if not _FOREIGN.fullmatch(name)}


def _interpreter(options: Options) -> tuple[str, str]:
    """Return a Python that is new enough, and its identity."""
    candidates = [options.python] if options.python else [sys.executable, *_CANDIDATES]
    seen = []
    for candidate in candidates:
        program = shutil.which(Path(candidate).expanduser())
        if program is None:
            continue
        result = subprocess.run(  # noqa: S603 a Python of the user's
            [program, "-I", "-c", _DESCRIBE], capture_output=True, text=True, check=False
        )
        if result.returncode == 0:
            number, *rest = json.loads(result.stdout)
            if tuple(number) >= _OLDEST:
                return program, "\n".join(rest)
            seen.append(f"{candidate} is {number[0]}.{number[1]}")
    found = f"; {', '.join(seen)}" if seen else ""
    raise ServicesError(
        f"the services need Python 3.11 or newer, for an environment of their own, and none was found"
        f" ({', '.join(candidates)}{found}); {variable('python')} names one"
    )


@contextmanager
def _locked(path: Path) -> Iterator[int]:
    """Hold a lock, which belongs to this process and to those that inherit its descriptor."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield descriptor
    finally:
        os.close(descriptor)


def _make(directory: Path, source: Source, interpreter: str, lock: int) -> None:
    def start(*command: str | Path) -> subprocess.Popen[str]:
        # The lock is inherited: pip may outlive a test run that is killed, and works in the directory.
        return subprocess.Popen(  # noqa: S603 Python's own tools
            command,
            env=clean_environment() | _PIP,
            cwd=directory.parent,  # no folder of the team's hides a module
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[lock],
            text=True,
            errors="replace",
        )

    def run(what: str, *commands: Sequence[str | Path]) -> None:
        """Run commands at the same time."""
        started: list[subprocess.Popen[str]] = []
        try:
            started += (start(*command) for command in commands)
            ended = [(process.communicate()[0], process.returncode) for process in started]
        except BaseException:
            for process in started:
                process.kill()
                process.wait()
            raise
        for output, status in ended:
            if status != 0:
                lines = "\n".join(output.splitlines()[-15:])
                hint = f"{variable('services')} names another source"
                raise ServicesError(f"{what} failed for {source}; {hint}:\n{lines}")

    shutil.rmtree(directory, ignore_errors=True)
    python = directory / "bin" / "python"
    own_pip = _pip_of_this_environment(python)
    run(
        "making a virtual environment (on Debian, python3-venv has what it takes)",
        (interpreter, "-m", "venv", *(["--without-pip"] if own_pip else []), directory),
    )
    pip = (*(own_pip or (python, "-m", "pip")), "--disable-pip-version-check", "--no-input", "--quiet")
    wheel = _obtain(source, directory, lambda *arguments: run("fetching", (*pip, *arguments)))
    requirements = [directory / f"requirements-{number}.txt" for number in range(_PIPS)]
    for number, part in enumerate(requirements):
        part.write_bytes(b"".join(_pinned(_lock_file(wheel))[number::_PIPS]))
    # Compiled at first use: most modules never are.
    install = (*pip, "install", "--no-compile", "--no-deps", "--only-binary=:all:")
    run(
        "installing what the services need",
        *((*install, "--require-hashes", "--requirement", part) for part in requirements),
    )
    run("installing", (*install, "--no-index", wheel))
    (directory / _COMPLETE).write_text(f"{source}\n", "utf-8")


def _pip_of_this_environment(python: Path) -> Sequence[str | Path]:
    """Return how to call this environment's pip for another Python, nothing if there is none. Saves seconds."""
    try:
        major, minor = map(int, version("pip").split(".")[:2])
    except (PackageNotFoundError, ValueError):
        return ()
    able = (major, minor) >= (22, 3)
    return (sys.executable, "-m", "pip", "--python", python) if able else ()


def _obtain(source: Source, directory: Path, pip: Callable[..., None]) -> Path:
    if isinstance(source, Wheel):
        return source.path
    place = directory / "wheel"
    pip("wheel", "--no-deps", "--wheel-dir", place, str(source))
    wheels = list(place.glob("*.whl"))
    if len(wheels) != 1:
        raise ServicesError(f"{source} is not one wheel but {len(wheels)}")
    return wheels[0]


def _lock_file(wheel: Path) -> bytes:
    with ZipFile(wheel) as archive:
        try:
            return archive.read(LOCK_FILE)
        except KeyError:
            raise ServicesError(f"{wheel.name} has no {LOCK_FILE}: it is not a wheel of the services") from None


def _pinned(lock_file: bytes) -> list[bytes]:
    """Return each requirement with its hashes. All are pinned, so one does not change what another is."""
    return re.findall(rb"^[A-Za-z0-9].*\n(?:[ \t#].*\n)*", lock_file, re.MULTILINE)


def _forget_old(cache: Path) -> None:
    """Remove environments that were not used for two months, unless they are being made."""
    oldest = time.time() - _KEPT_DAYS * 86400
    for marker in cache.glob(f"*/{_COMPLETE}"):
        if marker.stat().st_mtime < oldest:
            shutil.rmtree(marker.parent, ignore_errors=True)
