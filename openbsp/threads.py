"""Blocking calls beside the event loop, in threads that never keep the process from ending."""

import asyncio
import contextlib
import functools
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

#: A question that is asked again and again, of a client that hangs for good, leaves a thread each time.
_MOST_LEFT = 60
#: The calls that were given up, and their threads.
_left: list[tuple[Callable[..., object], threading.Thread]] = []


async def in_thread(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Return what `function` returns, or raise what it raises.

    As asyncio.to_thread, whose threads the end of the loop waits for: a client library that waits for a dead server
    would keep a terminated process for as long.
    """
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    bound = functools.partial(function, *args, **kwargs)
    name = getattr(function, "__name__", "call")
    threading.Thread(target=answer, args=(future, bound), name=name, daemon=True).start()
    try:
        return await future
    finally:
        # Trap: an exception of it holds this frame, which would hold the future: a circle that lives for long, with
        # whatever the frames of the exception refer to.
        del future


async def to_its_end(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As in_thread, but whoever is cancelled waits for the thread all the same.

    Trap: SQLite ends the process if a connection is closed while another thread reads from it.
    """
    call = asyncio.ensure_future(in_thread(function, *args, **kwargs))
    try:
        return await asyncio.shield(call)
    finally:
        await asyncio.wait([call])
        call.exception()  # one that nobody waits for any more is told by nobody
        # Trap: as in `in_thread`.
        del call


async def in_thread_within(seconds: float, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """As in_thread, but raise TimeoutError after so long; the thread goes on, and what it returns is dropped.

    Also at once, while _MOST_LEFT former calls of `function` go on.
    """
    _left[:] = [(called, thread) for called, thread in _left if thread.is_alive()]
    if sum(called == function for called, _ in _left) >= _MOST_LEFT:
        raise TimeoutError(f"not asked while {_MOST_LEFT} former questions have no end; a restart ends them")
    threads: list[threading.Thread] = []

    @functools.wraps(function)
    def call() -> T:
        threads.append(threading.current_thread())
        return function(*args, **kwargs)

    try:
        async with asyncio.timeout(seconds) as limit:
            return await in_thread(call)
    except TimeoutError:
        if not limit.expired():
            raise
        _left.extend((function, thread) for thread in threads)
        raise TimeoutError(f"no answer and no error within {seconds:g} s, which is a fault of its client") from None


def answer(
    future: "asyncio.Future[T]",
    function: Callable[[], T],
    on_error: Callable[[BaseException], object] = lambda _: None,
) -> None:
    """Call `function` in the current thread, and give the future its result or its exception on its loop.

    `on_error` is called with the exception before that, in this thread.
    """
    result, error = None, None
    try:
        result = function()
    except BaseException as raised:  # noqa: BLE001 it is raised again where it is awaited
        error = raised
        on_error(raised)
    with contextlib.suppress(RuntimeError):  # the loop has ended, nothing awaits the result
        future.get_loop().call_soon_threadsafe(settle, future, result, error)
    # Trap: as in `in_thread`.
    error = None


def settle(future: "asyncio.Future[T]", result: T | None, error: BaseException | None) -> None:
    """Give a future its result, or its exception, unless whoever waited has given up."""
    if future.done():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)  # type: ignore[arg-type]
