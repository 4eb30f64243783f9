"""A deterministic event loop: one thread, a simulated clock, and processes that can be paused and killed.

When nothing is ready, time jumps to the next timer. Which process a callback belongs to is in its context, so
whatever a process has started stands still with it, and ends with it: between any two steps of its tasks.
"""

import asyncio
import heapq
from collections.abc import Callable, Coroutine
from contextvars import Context, ContextVar, copy_context
from typing import Any

_process: ContextVar["Process | None"] = ContextVar("process", default=None)

#: What happens on the network and in servers belongs to no process.
OUTSIDE = Context()


class KilledError(BaseException):
    """Raised in the middle of what a process does when it is killed there. No `except Exception` may stop it."""


class StuckError(AssertionError):
    """Nothing is ready and no timer is set: what the caller waits for can never happen."""


class Process:
    """What is paused and killed as a whole. `killed` and `resumed` are called outside of it when that has happened."""

    def __init__(self, loop: "SimulatedLoop", name: str) -> None:
        self.name = name
        self.alive = True
        self.paused = False
        #: Steps of tasks, and writes, after which it is killed; None: never.
        self.steps_left: int | None = None
        self.writes_left: int | None = None
        #: Whether only tombstones count as writes.
        self.tombstones_only = False
        #: How long after the last of those writes it is killed; None: in the middle of it.
        self.last_words_s: float | None = None
        self.killed: list[Callable[[], None]] = []
        self.resumed: list[Callable[[], None]] = []
        self._loop = loop
        self._held: list[asyncio.Handle] = []

    def spawn(self, coroutine: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task that belongs to this process, with everything that it starts."""
        context = copy_context()
        context.run(_process.set, self)
        return self._loop.create_task(coroutine, context=context)

    def run(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function as a part of this process."""
        context = copy_context()
        context.run(_process.set, self)
        return context.run(function, *args)

    def hold(self, handle: asyncio.Handle) -> None:
        """Keep a callback until the process goes on."""
        self._held.append(handle)

    def pause(self) -> None:
        """Let it stand still."""
        if self.alive:
            self.paused = True

    def resume(self) -> None:
        """Let it go on, with whatever has become due."""
        if self.paused:
            self.paused = False
            held, self._held = self._held, []
            self._loop.requeue(held)
            for callback in self.resumed:
                OUTSIDE.copy().run(callback)

    def kill(self) -> None:
        """End it at once: no step of it is run any more."""
        if self.alive:
            self.alive = False
            self.paused = False
            self._held.clear()
            for callback in self.killed:
                OUTSIDE.copy().run(callback)

    def wrote(self, *, tombstone: bool) -> None:
        """Count a write. Raises KilledError if this is where the process ends, or if it has ended."""
        if self.writes_left is not None and (tombstone or not self.tombstones_only):
            self.writes_left -= 1
            if self.writes_left < 0:
                self.writes_left = None
                if self.last_words_s is None:
                    self.kill()
                else:
                    self._loop.outside(self.last_words_s, self.kill)
        if not self.alive:
            raise KilledError(self.name)


def current_process() -> Process | None:
    """Return the process whose code is running."""
    return _process.get()


class SimulatedLoop(asyncio.BaseEventLoop):
    """See the module. `now` is the time in seconds, of `loop.time()` and of all simulated clocks."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.steps = 0
        self.faults: list[BaseException] = []
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []
        self._count = 0
        self._tasks: list[asyncio.Task[Any]] = []
        self.set_exception_handler(self._note)
        self.set_task_factory(self._new_task)

    def time(self) -> float:
        """See asyncio."""
        return self.now

    def outside(self, delay: float, callback: Callable[..., None], *args: Any) -> asyncio.TimerHandle:
        """Call something later that belongs to no process."""
        return self.call_at(self.now + delay, callback, *args, context=OUTSIDE.copy())

    def requeue(self, handles: list[asyncio.Handle]) -> None:
        """Make held callbacks ready."""
        self._ready.extend(handles)

    def until(self, condition: Callable[[], bool], within: float = 600.0, every: float = 0.01) -> bool:
        """Run until a condition holds, asked after each step; False if it does not within so many seconds."""

        async def wait() -> bool:
            deadline = self.now + within
            while not condition():
                if self.now >= deadline:
                    return False
                await asyncio.sleep(every)
            return True

        return self.run_until_complete(wait())

    def shut(self) -> None:
        """Let go of all tasks, whatever they were doing, and close."""
        for task in self._tasks:
            if not task.done():
                for _ in range(8):
                    try:
                        task.get_coro().close()
                    except (RuntimeError, ValueError, KilledError):
                        continue  # it waits for something in a `finally`
                    break
        self._ready.clear()
        self._timers.clear()
        self.close()

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """See asyncio. Timers of one moment go off in the order in which they were set."""
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self._count += 1
        heapq.heappush(self._timers, (when, self._count, timer))
        return timer

    def _run_once(self) -> None:  # noqa: C901 one turn of the loop, and the hottest code of a history
        ready, timers = self._ready, self._timers
        while timers and timers[0][2]._cancelled:
            heapq.heappop(timers)
        if not ready and not self._stopping:
            if not timers:
                raise StuckError("nothing is ready and no timer is set")
            self.now = max(self.now, timers[0][0])
        now = self.now
        while timers and timers[0][0] <= now:
            handle = heapq.heappop(timers)[2]
            if not handle._cancelled:
                ready.append(handle)
        for _ in range(len(ready)):
            handle = ready.popleft()
            if handle._cancelled:
                continue
            process = handle._context.get(_process)
            if process is None:
                handle._run()
            elif process.paused:
                process.hold(handle)
            elif process.alive:
                if process.steps_left is not None:
                    process.steps_left -= 1
                    if process.steps_left < 0:
                        process.kill()
                        continue
                self.steps += 1
                handle._run()

    def _new_task(self, loop: asyncio.AbstractEventLoop, coroutine: Any, **named: Any) -> asyncio.Task[Any]:
        task: asyncio.Task[Any] = asyncio.Task(coroutine, loop=loop, **named)
        task._log_destroy_pending = False
        self._tasks.append(task)
        if len(self._tasks) > 512:
            self._tasks = [task for task in self._tasks if not task.done()]
        return task

    def _note(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if error is None:
            error = AssertionError(context["message"])
        if not isinstance(error, KilledError):
            self.faults.append(error)

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # noqa: ARG002 asyncio's
        """Refuse: what happens in a real thread is not decided by a seed."""
        raise AssertionError(f"{func} is to be run in a thread")

    def _check_closed(self) -> None:
        """Let what is collected after the end have its `finally`: nothing of it is run any more."""

    def _process_events(self, _: Any) -> None:
        """There are no files and no sockets."""

    def _write_to_self(self) -> None:
        """There is one thread."""


class Clock:
    """The time of a machine, read from a loop: see streams.engine's clock."""

    #: What a wall clock shows when the loop's time is 0: 2026-06-01T00:00:00Z.
    EPOCH_S = 1_780_272_000.0

    def __init__(self, loop: SimulatedLoop) -> None:
        self._loop = loop

    def monotonic(self) -> float:
        """Return the seconds since the beginning of the history."""
        return self._loop.now

    def time(self) -> float:
        """Return the seconds since 1970."""
        return self.EPOCH_S + self._loop.now
