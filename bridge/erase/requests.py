"""How `bridge erase` has a running bridge remove events from its spool: by files beside it.

A spool belongs to the process that drains it, which knows which events are in progress; a delete by another process
would interfere. So the command leaves a request, and the bridge answers it. Write access to the directory is enough: it
would allow changing the spool itself.
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
from bridge.delivery.spool.file import SpoolFile, is_held, listed
from bridge.erase.find import Row, Wanted
from bridge.erase.matching import matcher
from bridge.erase.sought import Sought
from openbsp.files import replace
from openbsp.log import describe, event
from openbsp.threads import in_thread, to_its_end
from openbsp.waiting import wait_until

_log = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.5
#: After this many polls, leftovers of commands are searched for.
_SWEEP_EVERY = 40
#: Events in progress are waited for: while Kafka is down that is the time-out of the drain's producer.
_IN_WORK_S = 75.0
#: An older request was left by a command that was killed; events accepted since are not covered by it.
_FORGOTTEN_S = 3600.0


#: Removes matching events, and returns how many.
_Erase = Callable[[Callable[[bytes], bool]], Awaitable[int]]


def request_path(spool: Path, id_: str) -> Path:
    """Return the path of a request to the bridge with this spool.

    Each has a file of its own: whoever removes one cannot remove the next one instead.
    """
    return spool.with_suffix(f".{id_}.erase")


def answer_path(request: Path) -> Path:
    """Return the path of the answer to a request."""
    return request.with_suffix(".erased")


@dataclass(frozen=True, slots=True)
class Request:
    """The events to remove."""

    id: str
    sought: Sought

    def encode(self, rows: list[Row]) -> str:
        """Return it as text; `rows` are those of `sought`."""
        wanted = asdict(self.sought.wanted)
        wanted |= {name: sorted(wanted[name]) for name in ("messages", "conversations")}
        return json.dumps({"id": self.id, "rows": rows, "wanted": wanted})

    @staticmethod
    def decode(text: str) -> "Request":
        """Read it. Raises ValueError, KeyError or TypeError if it is invalid."""
        content: dict[str, Any] = json.loads(text)
        wanted = content["wanted"]
        wanted |= {name: frozenset(wanted[name]) for name in ("messages", "conversations")}
        return Request(str(content["id"]), Sought.of([Row(*row) for row in content["rows"]], Wanted(**wanted)))


def ask(spool: Path, rows: list[Row], wanted: Wanted, *, patience_s: float) -> int | None:
    """Have the bridge with this spool remove what is sought; return how many events it has removed.

    None: it has given the spool up, and has not answered. Waits for events in progress, and `patience_s` seconds
    besides. Raises OSError, TimeoutError, ValueError with the bridge's reason.
    """
    request = Request(uuid4().hex, Sought.of(rows, wanted))
    path = request_path(spool, request.id)
    answer: dict[str, Any] = {}
    given_up = False

    def is_answered() -> bool:
        nonlocal answer, given_up
        # Trap: before the answer is looked for, as an answer may be the last thing that a bridge does with a spool.
        given_up = not is_held(spool)
        try:
            answer = json.loads(answer_path(path).read_text("utf-8"))
        except FileNotFoundError:
            return given_up
        return True

    try:
        _write(path, request.encode(rows), owner=spool)
        if not wait_until(is_answered, patience_s=patience_s + _IN_WORK_S, every_s=0.1):
            raise TimeoutError
    finally:
        with contextlib.suppress(OSError):
            path.unlink()
    if not answer:
        return None
    answer_path(path).unlink(missing_ok=True)
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
        """Poll for a request; never returns."""
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
            return await to_its_end(file.purge, is_wanted) + await self._drain.erase(is_wanted)

        await self._look(file.path, erase)

    async def _look(self, spool: Path, erase: _Erase) -> None:
        # Some microseconds, of a small directory that is written to all the time.
        for path in listed(spool.parent, f"{spool.stem}.*erase"):
            await self._answer(path, erase)

    async def _answer(self, path: Path, erase: _Erase) -> None:
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
        except FileNotFoundError:
            return  # its command has given up
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
            # Without its text, which may contain spooled data.
            problem = f"the bridge failed to search the spool: {describe(error)}"
            _log.exception("an erasure is incomplete: %s", problem, extra=event("spool.erasure_incomplete"))
        else:
            done = event("spool.erased", events=removed)
            _log.info("%d events were removed from the spool by `bridge erase`", removed, extra=done)
        answer = json.dumps({"id": request.id, "removed": removed, "error": problem})
        try:
            await in_thread(_write, answer_path(path), answer, owner=path)
            await in_thread(path.unlink, missing_ok=True)
        except OSError as error:
            # The request still exists, and is answered again.
            _log.error("the answer to an erasure cannot be written: %s", error, extra=event("spool.erasure_incomplete"))


def sweep(directory: Path) -> None:
    """Remove leftovers of killed commands: a request has the person's address.

    Requests for existing spools are answered by their owners. A waiting command notices by itself that its spool is
    gone.
    """
    for path in listed(directory, "spool-*.era*"):
        spool = path.with_name(path.name.partition(".")[0]).with_suffix(".db")
        is_request = path.suffix == ".erase"
        try:
            if (is_request and (spool.exists() or is_held(spool))) or (
                not is_request and time.time() - path.stat().st_mtime < _FORGOTTEN_S
            ):
                continue
            path.unlink()
        except OSError:
            continue  # another process was faster; or it cannot be removed now, and the next poll tries again
        _log.warning(
            "%s was left by a `bridge erase` that ended early, and is removed", path, extra=event("spool.erasure_swept")
        )


def _write(path: Path, text: str, *, owner: Path) -> None:
    """Write a whole file, with the owner of `owner` as far as the process may set it."""
    its, own = owner.stat(), (os.geteuid(), os.getegid())
    replace(path, text, mode=0o600, owner=own if os.geteuid() else (its.st_uid, its.st_gid))
