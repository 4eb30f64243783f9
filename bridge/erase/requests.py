"""How `bridge erase` has a running bridge remove events from its spool: by files beside it.

A spool belongs to the process that drains it, which knows what is in work; another one that deletes from the file would
take events from under it. So the command leaves a request, and the bridge answers it. Whoever may write to the
directory could change the spool itself: no other right is needed.
"""

import asyncio
import contextlib
import json
import logging
import os
import sqlite3
import time
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from bridge.delivery.drain import Drain
from bridge.delivery.spool.file import SpoolFile, is_held
from bridge.erase.find import Row, Wanted
from bridge.erase.matching import matcher
from bridge.erase.sought import Sought
from openbsp.log import describe, event
from openbsp.threads import in_thread
from openbsp.waiting import wait_until

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
#: Every so many looks, what was left by commands is looked for.
_SWEEP_EVERY = 40
#: What is in work is waited for: while Kafka is away that is the time-out of the drain's producer.
_IN_WORK_S = 75.0
#: A request this old was left by a command that was killed; what has been accepted since is not what it was for.
_FORGOTTEN_S = 3600.0


#: Removes what is wanted, and returns how many events that were.
_Erase = Callable[[Callable[[bytes], bool]], Awaitable[int]]


def request_path(spool: Path) -> Path:
    """Return where a request to the bridge that has this spool is."""
    return spool.with_suffix(".erase")


def answer_path(spool: Path) -> Path:
    """Return where its answer is."""
    return spool.with_suffix(".erased")


@dataclass(frozen=True, slots=True)
class Request:
    """What is to be removed."""

    id: str
    sought: Sought

    def encode(self, rows: list[Row]) -> str:
        """Return it as text; `rows` are those of `sought`."""
        wanted = asdict(self.sought.wanted)
        wanted |= {name: sorted(wanted[name]) for name in ("messages", "conversations")}
        return json.dumps({"id": self.id, "rows": rows, "wanted": wanted})

    @staticmethod
    def decode(text: str) -> "Request":
        """Read it. Raises ValueError, KeyError or TypeError for what is none."""
        content: dict[str, Any] = json.loads(text)
        wanted = content["wanted"]
        wanted |= {name: frozenset(wanted[name]) for name in ("messages", "conversations")}
        return Request(str(content["id"]), Sought.of([Row(*row) for row in content["rows"]], Wanted(**wanted)))


def ask(spool: Path, rows: list[Row], wanted: Wanted, *, patience_s: float) -> int | None:
    """Have the bridge that has this spool remove what is sought; return how many events it has removed.

    None: it has given the spool up, and has not answered. Waits for what is in work, and `patience_s` seconds besides.
    Raises OSError, TimeoutError, ValueError with the bridge's reason.
    """
    request = Request(uuid4().hex, Sought.of(rows, wanted))
    _write(request_path(spool), request.encode(rows), owner=spool)
    answer: dict[str, Any] = {}
    given_up = False

    def is_answered() -> bool:
        nonlocal answer, given_up
        # Trap: before the answer is looked for, for the last thing that a bridge does with a spool may be to answer.
        given_up = not is_held(spool)
        try:
            answer = json.loads(answer_path(spool).read_text("utf-8"))
        except FileNotFoundError:
            answer = {}
        return answer.get("id") == request.id or given_up

    try:
        if not wait_until(is_answered, patience_s=patience_s + _IN_WORK_S, every_s=0.1):
            raise TimeoutError
    finally:
        _unlink(request_path(spool), request.id)
    if answer.get("id") != request.id:
        return None
    answer_path(spool).unlink(missing_ok=True)
    if answer["error"] is not None:
        raise ValueError(answer["error"])
    return int(answer["removed"])


class SpoolErasures:
    """Answers requests in a running bridge."""

    def __init__(self, drain: Drain, spool: Path) -> None:
        """`spool` is the file that `drain` empties."""
        self._drain = drain
        self._spool = spool

    async def run(self) -> None:
        """Look for a request again and again; never returns."""
        looks = 0
        while True:
            await self._look(self._spool, self._drain.erase)
            if looks % _SWEEP_EVERY == 0:
                await in_thread(sweep, self._spool.parent)
            looks += 1
            await asyncio.sleep(_LOOK_EVERY_S)

    async def answer_adopted(self, file: SpoolFile) -> None:
        """Answer a request for a spool whose events are being moved into this one. None may be moved meanwhile."""

        async def erase(is_wanted: Callable[[bytes], bool]) -> int:
            return await in_thread(file.purge, is_wanted) + await self._drain.erase(is_wanted)

        await self._look(file.path, erase)

    async def _look(self, spool: Path, erase: _Erase) -> None:
        path = request_path(spool)
        if os.path.exists(path):  # noqa: ASYNC240, PTH110 microseconds, of a directory that is written to all the time
            await self._answer(spool, path, erase)

    async def _answer(self, spool: Path, path: Path, erase: _Erase) -> None:
        try:
            asked_at = (await in_thread(path.stat)).st_mtime
            if time.time() - asked_at > _FORGOTTEN_S:
                _log.error(
                    "%s was left by a `bridge erase` that ended long ago, and is not carried out: erase again",
                    path,
                    extra=event("spool.erasure_forgotten"),
                )
                await in_thread(path.unlink, missing_ok=True)
                return
            request = Request.decode(await in_thread(path.read_text, "utf-8"))
        except (OSError, ValueError, KeyError, TypeError) as error:
            _log.error("%s is not a `bridge erase` request: %s", path, error, extra=event("spool.erasure_unreadable"))
            await in_thread(path.unlink, missing_ok=True)
            return
        removed, problem = 0, None
        try:
            removed = await erase(matcher(request.sought))
        except sqlite3.Error as error:
            problem = f"the spool cannot be changed: {error}"
            _log.error("an erasure is incomplete: %s", problem, extra=event("spool.erasure_incomplete"))
        except Exception as error:  # noqa: BLE001 whatever it is: the bridge would end, and after a restart end again
            # Not its text, in which there may be what was spooled.
            problem = f"the bridge failed to search the spool: {describe(error)}"
            _log.exception("an erasure is incomplete: %s", problem, extra=event("spool.erasure_incomplete"))
        else:
            done = event("spool.erased", events=removed)
            _log.info("%d events were removed from the spool by `bridge erase`", removed, extra=done)
        answer = json.dumps({"id": request.id, "removed": removed, "error": problem})
        try:
            await in_thread(_write, answer_path(spool), answer, owner=path)
            await in_thread(_unlink, path, request.id)
        except OSError as error:
            # The request is there still, and is answered again.
            _log.error("the answer to an erasure cannot be written: %s", error, extra=event("spool.erasure_incomplete"))


def sweep(directory: Path) -> None:
    """Remove what commands that were killed have left: a request has the address of whom it is about.

    Requests for spools that are there are answered by whoever has these. A command that waits notices by itself that
    its spool is there no more.
    """
    for path in directory.glob("spool-*.era*"):
        spool = path.with_name(path.name.partition(".")[0]).with_suffix(".db")
        is_request = path == request_path(spool)
        try:
            if (is_request and (spool.exists() or is_held(spool))) or (
                not is_request and time.time() - path.stat().st_mtime < _FORGOTTEN_S
            ):
                continue
            path.unlink()
        except OSError:
            continue  # somebody else was faster; or it cannot be removed now, and the next look tries again
        _log.warning(
            "%s was left by a `bridge erase` that ended early, and is removed", path, extra=event("spool.erasure_swept")
        )


def _unlink(path: Path, id_: str) -> None:
    """Remove a request, unless it is another one by now."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        if json.loads(path.read_text("utf-8"))["id"] == id_:
            path.unlink()


def _write(path: Path, text: str, *, owner: Path) -> None:
    """Write a whole file, which belongs to whom `owner` belongs to, as far as that can be given away."""
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    its = owner.stat()
    try:
        # Trap: the directory is the bridge's user's, and this may run as root: only the file made here is written.
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            if os.geteuid() == 0 and its.st_uid != 0:
                os.fchown(file.fileno(), its.st_uid, its.st_gid)
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
