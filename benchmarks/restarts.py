"""What readers and senders notice when workers are restarted or killed: `make bench-restarts`.

A real broker, registry and bridge and three workers, all on this machine. Readers ask the workers in turn, as a load
balancer does: a connection that is refused is tried at the next worker. See docs/benchmarks-restarts.md, of
which `--markdown` writes a section, as of the page of the join beside it. Progress goes to standard error, the tables
to standard output.
"""

import asyncio
import itertools
import math
import random
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import aiohttp
import typer
from figures.budget import Budget
from figures.goals import Goal, table
from figures.results import Results
from figures.section import put
from join.cluster import CONTRIBUTIONS, INPUTS, Cluster
from join.workload import MESSAGES, Event, inserts
from support.say import say

from avro import instants
from openbsp.local.stack import LocalStack
from openbsp.up.part import PythonPart
from support import machine, parts

WORKERS = 3
SESSION_S = 10.0
_GROUP = "restarts"
_READY_S = 900.0
_QUIET_S = 3.0
#: Kill: each of so many conversations is asked for by itself, this often.
_PROBES, _PROBE_S = 32, 0.05
#: A read without an answer for so long has failed.
_PATIENCE_S = 10.0
_CONVERSATIONS = 200
#: Writing messages may take this share of the time without the kill: joining them takes five times as long.
_KILL_S, _FILL_SHARE = 45.0, 0.17


@dataclass
class Seen:
    """What clients saw."""

    reads: int = 0
    #: Reads that had to be tried at another worker, as the connection was refused.
    passed_on: int = 0
    #: The same, as the connection ended without an answer.
    cut_off: int = 0
    slowest_s: float = 0.0
    failed: Counter[str] = field(default_factory=Counter)
    #: Ids of the messages that the bridge accepted.
    accepted: list[str] = field(default_factory=list)
    refused: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> int:
        """How many reads had no answer."""
        return sum(self.failed.values())


@dataclass
class Stage:
    """The processes, and a client."""

    cluster: Cluster
    bridge: PythonPart
    workers: list[PythonPart]
    client: aiohttp.ClientSession
    conversations: list[str]

    async def read(self, path: str, turn: int, seen: Seen) -> bool:
        """Ask for a path, at the worker whose turn it is; return whether there was an answer."""
        begin = time.perf_counter()
        seen.reads += 1
        problem = "no worker listens"
        for number in range(WORKERS):
            url = self.workers[(turn + number) % WORKERS].url + path
            try:
                async with self.client.get(url, timeout=aiohttp.ClientTimeout(_PATIENCE_S)) as answer:
                    text = await answer.text()
                    problem = "" if answer.status == 200 else f"{answer.status} {text[:120]}"
                    break
            except aiohttp.ClientConnectorError:
                seen.passed_on += 1
            except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as error:
                # A GET whose connection ends without an answer may be sent again (RFC 9112, 9.3.1); proxies do so.
                seen.cut_off += 1
                problem = type(error).__name__
            except (aiohttp.ClientError, TimeoutError) as error:
                problem = type(error).__name__
                break
        if problem:
            seen.failed[problem] += 1
        seen.slowest_s = max(seen.slowest_s, time.perf_counter() - begin)
        return not problem

    async def count(self, conversation: str) -> int:
        """Return how many messages a conversation has."""
        async with self.client.get(f"{self.workers[0].url}/conversations/{conversation}") as answer:
            return int((await answer.json())["message_count"])

    async def send(self, body: dict[str, object]) -> str:
        """Send a webhook; return why it was not accepted, nothing if it was."""
        async with self.client.post(f"{self.bridge.url}/webhooks", json=body) as answer:
            return "" if answer.status in {200, 202} else f"{answer.status} {(await answer.text())[:120]}"

    async def caught_up(self) -> None:
        """Return when all that is in the sources is committed, and what follows from it. TimeoutError."""
        sources = (*INPUTS, CONTRIBUTIONS)
        with self.cluster.positions(_GROUP, sources) as positions:
            async with asyncio.timeout(_READY_S):
                while True:
                    # Trap: contributions are written before the records that they follow from are committed.
                    committed = await asyncio.to_thread(positions)
                    ends = await asyncio.to_thread(self.cluster.ends, sources)
                    if all(committed[at] >= end for at, end in ends.items() if end > 0):
                        return
                    await asyncio.sleep(0.5)


def main(
    *,
    scale: Annotated[
        float, typer.Option(min=0.001, help="1 is 500 reads/s, 200 webhooks/s, 1,000,000 messages in the tables.")
    ] = 1,
    store: Annotated[str, typer.Option(help="memory or rocksdb.")] = "rocksdb",
    skip_kill: Annotated[bool, typer.Option("--skip-kill", help="Only the rolling restart.")] = False,
    skip_rolling: Annotated[bool, typer.Option("--skip-rolling", help="Only the kill.")] = False,
    logs: Annotated[Path | None, typer.Option(help="Leave the logs of all processes in this new directory.")] = None,
    budget_s: Annotated[
        float, typer.Option(help="Kill with fewer messages in the tables, if so many seconds are not enough for all.")
    ] = math.inf,
    markdown: Annotated[Path | None, typer.Option(help="Write the page of the documentation here.")] = None,
    results: Annotated[Path | None, typer.Option(help="Write goals and figures here, as JSON.")] = None,
) -> None:
    """Restart three workers one after the other under load, then kill one of them."""
    described = machine.describe()
    rolled: list[str] = []
    killed: list[str] = []
    goals: list[Goal] = []
    messages = round(1_000_000 * scale)
    budget = Budget(budget_s)
    local = LocalStack()
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-restarts-")))
        if logs is not None:
            stack.callback(_keep_logs, directory, logs)
        stack.callback(local.stop)
        local.start(_READY_S)
        cluster = Cluster(local.kafka, local.registry)
        if not skip_rolling:
            rolled = asyncio.run(_rolling(cluster, directory / "rolling", store, scale, goals))
        if not skip_kill:
            fill_s = max(0.0, budget.left_s - _KILL_S) * _FILL_SHARE
            work = _kill(cluster, directory / "kill", store, messages=messages, fill_s=fill_s, goals=goals)
            messages, killed = asyncio.run(work)
    said = f"`{machine.command()}` on {datetime.now(UTC).date()}. **Machine**: {described}."
    print("\n".join([said, "", *rolled, *killed, table(goals)]))
    if markdown is not None:
        put(markdown, "restarts", "\n".join([said, "", *rolled, *killed, table(goals)]))
        if killed:
            text = ["## kill -9", "", said, "", *killed, "Rolling restarts: [restarts](benchmarks-restarts.md)."]
            put(markdown.with_name("benchmarks-join.md"), "kill", "\n".join(text))
    sizes = f"{500 * scale:g} reads/s, {200 * scale:g} webhooks/s; {messages:,} messages"
    Results(described, sizes, goals).write(results)
    say("done")


def _keep_logs(directory: Path, logs: Path) -> None:
    for log in directory.glob("*/*.log"):
        target = logs / log.relative_to(directory)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(log, target)


@asynccontextmanager
async def _stage(
    cluster: Cluster, directory: Path, store: str, messages: int = 0, fill_s: float = math.inf
) -> AsyncIterator[Stage]:
    cluster.reset()
    conversations: list[str] = []
    if messages:
        say(f"writing {messages:,} messages")
        cluster.fill(_rows(messages, fill_s, conversations))
        say(f"{len(conversations) * MESSAGES:,} messages are written")
    bridge = parts.bridge(cluster.environment, directory)
    workers = [
        parts.worker(
            cluster.environment,
            directory,
            number,
            STREAMS_APP_ID=_GROUP,
            STREAMS_STORE=store,
            STREAMS_SESSION_TIMEOUT_S=str(SESSION_S),
        )
        for number in range(WORKERS)
    ]
    with ExitStack() as stack:
        for part in (bridge, *workers):
            stack.callback(part.stop)
            part.launch()
        for part in (bridge, *workers):
            await asyncio.to_thread(part.wait_ready, _READY_S)
        headers = {"Authorization": f"Bearer {parts.TOKEN}"}
        async with aiohttp.ClientSession(headers=headers, connector=aiohttp.TCPConnector(limit=0)) as client:
            stage = Stage(cluster, bridge, workers, client, conversations)
            say("the workers join what is there")
            await stage.caught_up()
            yield stage


def _rows(messages: int, fill_s: float, conversations: list[str]) -> Iterator[Event]:
    """Yield the rows of conversations and of their messages for so many seconds at most; note the conversations."""
    end = time.monotonic() + fill_s
    for event in inserts(messages // MESSAGES):
        if event.entity == "conversations":
            if time.monotonic() >= end:
                return
            conversations.append(event.row["id"])
        yield event


async def _regularly(per_s: float, act: Callable[[int], Coroutine[None, None, None]], stop: asyncio.Event) -> None:
    begin = time.perf_counter()
    async with asyncio.TaskGroup() as tasks:
        for number in itertools.count():
            if stop.is_set():
                return
            await asyncio.sleep(max(0.0, begin + number / per_s - time.perf_counter()))
            tasks.create_task(act(number))


async def _rolling(cluster: Cluster, directory: Path, store: str, scale: float, goals: list[Goal]) -> list[str]:
    reads, writes = 500 * scale, 200 * scale
    seen, stop = Seen(), asyncio.Event()
    async with _stage(cluster, directory, store) as stage:
        now = instants.render(instants.now())
        stage.conversations = [str(uuid4()) for _ in range(_CONVERSATIONS)]
        for key in stage.conversations:
            row = {"id": key, "organization_id": "benchmark", "service": "whatsapp", "created_at": now}
            problem = await stage.send({"entity": "conversations", "action": "insert", "data": row})
            assert not problem, problem
        await stage.caught_up()

        async def read(number: int) -> None:
            await stage.read(f"/conversations/{random.choice(stage.conversations)}", number, seen)

        async def write(number: int) -> None:
            key = str(uuid4())
            row = {"id": key, "organization_id": "benchmark", "direction": "incoming", "created_at": now}
            row["conversation_id"] = stage.conversations[number % len(stage.conversations)]
            problem = await stage.send({"entity": "messages", "action": "insert", "data": row})
            if problem:
                seen.refused[problem] += 1
            else:
                seen.accepted.append(key)

        say(f"rolling restart under {reads:g} reads/s and {writes:g} webhooks/s")
        begin = time.perf_counter()
        async with asyncio.TaskGroup() as load:
            load.create_task(_regularly(reads, read, stop))
            load.create_task(_regularly(writes, write, stop))
            for worker in stage.workers:
                await asyncio.sleep(_QUIET_S)
                await asyncio.to_thread(worker.stop, 60.0)
                worker.launch()
                await asyncio.to_thread(worker.wait_ready, _READY_S)
            await asyncio.sleep(_QUIET_S)
            stop.set()
        seconds = time.perf_counter() - begin
        await stage.caught_up()
        lost, asked = 0, Seen()
        for number, key in enumerate(seen.accepted):
            lost += not await stage.read(f"/messages/{key}", number, asked)
        uncounted = len(seen.accepted) - sum([await stage.count(key) for key in stage.conversations])
        lost = max(lost, uncounted)
    goals += [
        Goal("rolling restart: reads that failed", seen.failures, at_most=0),
        Goal("rolling restart: webhooks that were refused", sum(seen.refused.values()), at_most=0),
        Goal("rolling restart: accepted messages that were lost", lost, at_most=0),
    ]
    figures = (
        f"{seen.reads:,}",
        f"{seen.failures:,}",
        f"{seen.passed_on:,}",
        f"{seen.cut_off:,}",
        f"{seen.slowest_s:.1f} s",
        f"{len(seen.accepted):,}",
        f"{sum(seen.refused.values()):,}",
        f"{lost:,}",
    )
    under = f"under {reads:g} reads/s and {writes:g} webhooks/s"
    return [
        f"**Rolling restart** of {WORKERS} workers ({store}) in {seconds:.0f} s, {under}:",
        "",
        (
            "| reads | failed | connection refused, asked another worker | connection ended, asked another worker "
            "| slowest | webhooks accepted | refused | lost |"
        ),
        "| --: | --: | --: | --: | --: | --: | --: | --: |",
        f"| {' | '.join(figures)} |",
        "",
        *(f"- {count:,} reads failed: {problem}" for problem, count in seen.failed.most_common(5)),
        *(f"- {count:,} webhooks were refused: {problem}" for problem, count in seen.refused.most_common(5)),
        "",
    ]


async def _kill(
    cluster: Cluster, directory: Path, store: str, *, messages: int, fill_s: float, goals: list[Goal]
) -> tuple[int, list[str]]:
    """Return how many messages were in the tables, and the part of the page."""
    async with _stage(cluster, directory, store, messages, fill_s) as stage:
        asked, messages = messages // MESSAGES * MESSAGES, len(stage.conversations) * MESSAGES
        keys = random.Random(1).sample(stage.conversations, min(_PROBES, len(stage.conversations)))
        calm = await _longest_silence(stage, keys, None)
        killed = await _longest_silence(stage, keys, stage.workers[0])
    median = sorted(killed)[len(killed) // 2]
    # Longer would mean that the others waited for the end of its session.
    what = f"kill -9 with {messages:,} messages: longest time without an answer for a key"
    goals.append(Goal(what, max(killed), at_most=SESSION_S, unit="s"))
    fewer = f"All would be {asked:,} messages: the time of this run (`--budget-s`) was for so many."
    title = f"**kill -9** of one of {WORKERS} workers ({store}) with {messages:,} messages in the tables"
    return messages, [
        f"{title}; it is started again at once, and the session time-out is {SESSION_S:g} s.",
        *([fewer] if messages < asked else []),
        f"Each of {len(keys)} conversations is asked for again {_PROBE_S * 1000:g} ms after each answer:",
        "",
        "| longest time without an answer for a key | median of the keys | the longest without a kill |",
        "| --: | --: | --: |",
        f"| {max(killed):.1f} s | {median:.1f} s | {max(calm):.1f} s |",
        "",
    ]


async def _longest_silence(stage: Stage, keys: list[str], victim: PythonPart | None) -> list[float]:
    """Return for each key the longest time between two answers, while a worker is killed and started again."""
    stop = asyncio.Event()
    longest = dict.fromkeys(keys, 0.0)

    async def probe(key: str, turn: int) -> None:
        answered = time.perf_counter()
        for number in itertools.count(turn):
            found = await stage.read(f"/conversations/{key}", number, Seen())
            now = time.perf_counter()
            longest[key] = max(longest[key], now - answered)
            if found:
                answered = now
                if stop.is_set():
                    return
            await asyncio.sleep(_PROBE_S)

    async with asyncio.TaskGroup() as probes:
        for turn, key in enumerate(keys):
            probes.create_task(probe(key, turn))
        await asyncio.sleep(_QUIET_S)
        if victim is not None:
            say("kill")
            await asyncio.to_thread(victim.kill)
            victim.launch()
            for worker in stage.workers:
                await asyncio.to_thread(worker.wait_ready, _READY_S)
        await asyncio.sleep(_QUIET_S)
        stop.set()
    return list(longest.values())


if __name__ == "__main__":
    typer.run(main)
