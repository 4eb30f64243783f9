"""Workers of one application under a supervisor: each is started again when it ends, until it is no longer wanted."""

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from openbsp.local.part import START_SECONDS
from openbsp.up.part import PythonPart
from support.environment import clean_environment
from support.look import look
from support.wait import eventually

TOKEN = "token-of-the-tests"

_WATCH_S = 0.1


@dataclass
class Member:
    """A worker, whichever process it is at the moment."""

    part: PythonPart
    wanted: bool = True
    paused: bool = False
    #: Exit statuses of its processes so far, negative for a signal.
    exits: list[int] = field(default_factory=list)


class Fleet:
    """A context manager: everything is gone at its end. `lines` are what all processes have logged."""

    def __init__(self, contract: Any, directory: Path, **variables: str) -> None:
        """Prepare; `variables` are those of all workers."""
        self.members: list[Member] = []
        self.lines: list[str] = []
        self._directory = directory
        self._environment: Mapping[str, str] = {
            **clean_environment(),
            **contract.environment,
            "STREAMS_TOKENS": f"tests={TOKEN}",
            "STREAMS_APP_ID": f"{contract.prefix}streams",
            **variables,
        }
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._timers: list[threading.Timer] = []
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        for timer in self._timers:
            timer.cancel()
        for member in self.members:
            member.part.kill()

    def add(self, **variables: str) -> Member:
        """Launch one more worker, with a data directory of its own, and do not wait for it."""
        name = f"worker-{len(self.members) + 1}"
        part = PythonPart(
            name,
            ["streams", "worker"],
            variables="STREAMS",
            environment={**self._environment, "STREAMS_DATA_DIR": str(self._directory / name), **variables},
            log=self._directory / f"{name}.log",
            on_log=lambda name, line: self.lines.append(f"{name}: {line}"),
        )
        member = Member(part)
        with self._lock:
            part.launch()
            self.members.append(member)
        return member

    def remove(self, member: Member, within: float = 30.0) -> int:
        """End a worker in order and for good; return its exit status."""
        with self._lock:
            member.wanted = False
        self.resume(member)
        member.part.process.send_signal(signal.SIGTERM)
        return member.part.process.wait(within)

    def restart(self, member: Member) -> None:
        """End a worker in order; its successor is launched when it has ended."""
        member.part.process.send_signal(signal.SIGTERM)

    def kill(self, member: Member) -> None:
        """End a worker's process at once; its successor is launched at once as well."""
        member.part.process.send_signal(signal.SIGKILL)

    def pause(self, member: Member, seconds: float | None = None) -> None:
        """Let a worker stand still: for so long, or until it is resumed."""
        member.paused = True
        member.part.process.send_signal(signal.SIGSTOP)
        if seconds is not None:
            timer = threading.Timer(seconds, self.resume, [member])
            timer.daemon = True
            timer.start()
            self._timers.append(timer)

    def resume(self, member: Member) -> None:
        """Let a worker go on, if it stands still."""
        if member.paused:
            member.paused = False
            member.part.process.send_signal(signal.SIGCONT)

    @property
    def wanted(self) -> list[Member]:
        """The workers that have not been removed."""
        return [member for member in self.members if member.wanted]

    @property
    def urls(self) -> list[str]:
        """The addresses of the workers that have not been removed."""
        return [member.part.url for member in self.wanted]

    @property
    def reasons(self) -> list[str]:
        """Why processes ended by themselves."""
        return [line for line in self.lines if '"level":"CRITICAL"' in line]

    def wait_ready(self, within: float = START_SECONDS) -> None:
        """Resume all, and return when every worker answers."""
        for member in self.wanted:
            self.resume(member)

        def ready(member: Member) -> bool:
            # Trap: `Part.wait_ready` kills one that has ended, and that may be its successor by then.
            answer = look(f"{member.part.url}/readyz")
            return answer is not None and answer[0] == 200

        for member in self.wanted:
            eventually(lambda member=member: ready(member), within=within)

    def _watch(self) -> None:
        while not self._ended.wait(_WATCH_S):
            with self._lock:
                for member in self.wanted:
                    if not member.part.running:
                        member.exits.append(member.part.process.returncode or 0)
                        member.paused = False
                        member.part.kill()  # what it has left behind
                        member.part.launch()


@contextmanager
def fleet(contract: Any, directory: Path, workers: int, **variables: str) -> Iterator[Fleet]:
    """Run a fleet whose first workers are ready."""
    with Fleet(contract, directory, **variables) as running:
        for _ in range(workers):
            running.add()
        running.wait_ready()
        yield running
