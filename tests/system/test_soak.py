"""A bridge and a worker under a steady load for an hour: at its end they take no more than after a quarter of it.

`SOAK_S` is for how many seconds, 3,600 unless set. What lives is bounded (`support.soak_traffic`), and so are the
caches, but it takes ten minutes until they are full. A soak whose first quarter is shorter tells how much memory there
is, and does not judge it.
"""

import contextlib
import os
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.bridge_process import TOKEN, Bridge
from support.growth import COUNTED, MEMORY, Allowance, course_of
from support.join_fleet import Fleet, Member
from support.load import Attempt, Load
from support.local_servers import LocalStack
from support.meter import Meter
from support.soak_clients import Clients
from support.soak_traffic import Traffic
from support.wait import eventually

pytestmark = [pytest.mark.integration, pytest.mark.long]

SOAK_S = float(os.environ.get("SOAK_S") or 3_600)
PER_SECOND = 100
#: A slow machine must not lead to ever more connections, which would be taken for growth.
AT_ONCE = 8
#: Forty samples at least, however short it is.
SAMPLE_S = min(10.0, SOAK_S / 40)
#: Conversations that nothing happens in for so long are forgotten: as many come as go before the first quarter ends.
IDLE_S = min(60.0, SOAK_S / 10)

#: Until the changes that the views remember, and RocksDB's caches, take as much memory as they ever do.
WARM_UP_S = 600.0

JUDGED: dict[str, Allowance] = {
    f"{process} {what}": allowed
    for process in ("bridge", "worker")
    for what, allowed in (("MiB", MEMORY), ("descriptors", COUNTED), ("threads", COUNTED))
    if what != "MiB" or SOAK_S >= 4 * WARM_UP_S
}


@pytest.mark.timeout(SOAK_S + 1_200)
def test_a_steady_load_makes_nothing_grow(servers: LocalStack, tmp_path: Path):
    """And every webhook is accepted, all states are right in the end, and no event stream has missed anything."""
    traffic = Traffic()
    with running(servers, tmp_path) as (bridge, fleet, worker):
        pids = [bridge.process.pid, *bridge.workers, worker.part.pid]
        meter = Meter(
            tmp_path / "samples.csv",
            {"bridge": lambda: [bridge.process.pid, *bridge.workers], "worker": lambda: [worker.part.pid]},
            stores=tmp_path / "worker-1",
            spool=tmp_path / "spool",
        )
        with Load(bridge.url, TOKEN, per_second=PER_SECOND, event=traffic, at_once=AT_ONCE) as load:
            eventually(
                lambda: traffic.is_whole and traffic.expected().keys() <= shown(fleet).keys(), within=180, every=1
            )
            with Clients(bridge.url, worker.part.url, TOKEN, traffic) as clients:
                outcomes = soak(meter, load, clients)
                assert clients.faults == []
                report(meter, outcomes, clients)
                load.stop()
                outcomes += count(load)
                assert outcomes.keys() <= {"published", "spooled"}
                clients.stay = True
                # Nothing is left but the pool: all that passed was deleted, or is forgotten.
                eventually(lambda: differences(traffic, shown(fleet)) == [], within=IDLE_S + 120, every=1)
                eventually(lambda: clients.differences(shown(fleet)) == [], within=60, every=1)
                assert messages(traffic, worker) == traffic.texts()
                assert clients.faults == []
        assert bridge.spooled == 0
        assert [bridge.process.pid, *bridge.workers, worker.part.pid] == pids
        assert fleet.reasons == []
    assert grown(meter) == []


@contextlib.contextmanager
def running(servers: LocalStack, directory: Path) -> Iterator[tuple[Bridge, Fleet, Member]]:
    """Start a bridge, and a worker with stores on the disk."""
    bridge = Bridge(servers.kafka, servers.registry, directory)
    with contextlib.ExitStack() as stack:
        stack.callback(bridge.close)
        bridge.prepare()
        bridge.start()
        fleet = stack.enter_context(Fleet(bridge.topics, directory))
        worker = fleet.add(
            STREAMS_STORE="rocksdb",
            STREAMS_IDLE_AFTER_S=str(IDLE_S),
            STREAMS_ROCKSDB_MEMORY_BYTES=str(16 << 20),
            STREAMS_STORE_COMPACTION_S=str(SOAK_S / 20),
        )
        fleet.wait_ready()
        yield bridge, fleet, worker


def soak(meter: Meter, load: Load, clients: Clients) -> Counter[str]:
    """Let time pass, and measure; return how often which answer came. A fault ends it at once."""
    outcomes: Counter[str] = Counter()
    begun = time.monotonic()
    for _ in range(round(SOAK_S / SAMPLE_S)):
        if clients.failed.wait(SAMPLE_S):
            break
        answered = count(load)
        assert answered, f"no webhook was answered in {SAMPLE_S:g} s"
        outcomes += answered
        meter.take(
            seconds=time.monotonic() - begun,
            webhooks=outcomes.total(),
            streams=clients.streams_open,
            events=clients.events_heard,
        )
    return outcomes


def count(load: Load) -> Counter[str]:
    """Take what was answered since the last time out of the load, which would grow itself, and count it."""
    many = len(load.attempts)
    answered = load.attempts[:many]
    del load.attempts[:many]
    return Counter(map(_outcome, answered))


def _outcome(attempt: Attempt) -> str:
    if attempt.status == httpx.codes.ACCEPTED:
        return str(attempt.answer["disposition"])
    return "no answer" if attempt.status is None else f"{attempt.status} {attempt.answer.get('reason')}"


def shown(fleet: Fleet) -> dict[str, dict[str, Any]]:
    """Return what the views show of all conversations."""
    found: dict[str, dict[str, Any]] = {}
    (url,) = fleet.urls
    with httpx.Client(base_url=url, headers=_AUTHORIZED, timeout=20, trust_env=False) as views:
        query = {"limit": "500"}
        while query.get("cursor", "first"):
            answer = views.get("/conversations", params=query)
            assert answer.status_code == httpx.codes.OK, answer.text
            page = answer.json()
            found |= {item["id"]: item for item in page["conversations"]}
            query["cursor"] = page["next_cursor"]
    return found


_AUTHORIZED = {"Authorization": f"Bearer {TOKEN}"}


def differences(traffic: Traffic, found: dict[str, dict[str, Any]]) -> list[str]:
    """Return a line for each conversation that is not shown as it was told, or should not be shown."""
    expected = traffic.expected()
    lines = []
    for key in expected.keys() | found.keys():
        wanted, item = expected.get(key), found.get(key)
        if wanted is None or item is None:
            lines.append(f"{key}: {'not shown' if item is None else 'shown, and should be gone'}")
        else:
            lines += [f"{key}: {name} is {at(item, name)}" for name in wanted if at(item, name) != wanted[name]]
    return lines


def at(item: dict[str, Any], name: str) -> Any:
    """Return a member, or a member of a member."""
    outer, _, inner = name.partition(".")
    value = item[outer]
    return value if not inner or value is None else value[inner]


def messages(traffic: Traffic, worker: Member) -> dict[str, str]:
    """Return the texts of the pool's messages, as the views show them."""
    with httpx.Client(base_url=worker.part.url, headers=_AUTHORIZED, timeout=20, trust_env=False) as views:
        return {key: views.get(f"/messages/{key}").json()["content"]["text"] for key in traffic.texts()}


def report(meter: Meter, outcomes: Counter[str], clients: Clients) -> None:
    """Print all that was measured, as a person would want to see it."""
    told = {
        "webhooks": dict(outcomes),
        "answers": dict(sorted(clients.answers.items())),
        "event streams": f"{clients.streams_opened} opened, {clients.events_heard} events heard",
    }
    print()
    for name, value in told.items():
        print(f"figure: {name}: {value}")
    print(
        f"figure: {'medians of the quarters':<24}{'start':>10}{'1st':>10}{'2nd':>10}{'3rd':>10}{'last':>10}{'end':>10}"
    )
    for name in meter.samples[0]:
        if name not in {"seconds", "webhooks", "events"}:
            course = course_of(meter.column(name))
            values = (course.start, *course.quarters, course.end)
            print(f"figure: {name:<24}" + "".join(f"{value:>10.1f}" for value in values))
    between_s = meter.samples[-1]["seconds"] / 2
    for process in ("bridge", "worker"):
        level = course_of(meter.column(f"{process} MiB")).quarters[1]
        least = MEMORY.beyond(level) * (1 << 20) / (PER_SECOND * between_s)
        print(f"figure: {process}: {least:.0f} bytes a webhook more are growth")
    print(f"figure: all samples are in {meter.file}")


def grown(meter: Meter) -> list[str]:
    """Return a line for each thing of which there is more in the last quarter than may be."""
    courses = {name: (course_of(meter.column(name)), allowed) for name, allowed in JUDGED.items()}
    return [f"{name}: {course}" for name, (course, allowed) in courses.items() if course.has_grown(allowed)]
