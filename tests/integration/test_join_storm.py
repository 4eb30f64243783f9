"""Workers are killed, paused beyond their session, added and removed under load: nothing is lost, nothing diverges.

Every worker is started again when it ends, as a supervisor does. The judge is the reference model.
"""

import random
import threading

import pytest

from support.join_fleet import TOKEN, Fleet, fleet
from support.join_outcome import await_committed, expected_of, outcome_of
from support.join_sources import Sources
from support.join_views import Views
from support.join_workload import workload
from support.wait import SESSION_S, eventually

pytestmark = pytest.mark.integration

MOST_WORKERS = 3


def let_pass(seconds: float) -> None:
    """Let time pass: how long something lasts is what is tested."""
    threading.Event().wait(seconds)


def disturb(running: Fleet, chance: random.Random) -> str:
    """Do something to a worker, and say what."""
    awake = [member for member in running.wanted if not member.paused and member.part.running]
    choices = ["kill", "kill", "pause", "pause", "stutter"]
    if len(running.wanted) < MOST_WORKERS:
        choices += ["add", "add"]
    if len(running.wanted) > 1 and len(awake) > 1:
        choices += ["remove"]
    choice = chance.choice(choices if awake else ["add"])
    if choice == "add":
        return f"add {running.add().part.name}"
    member = chance.choice(awake)
    if choice == "kill":
        running.kill(member)
    elif choice == "pause":
        running.pause(member, SESSION_S + 1 + 2 * chance.random())
    elif choice == "stutter":
        running.pause(member, SESSION_S / 3)
    else:
        return f"remove {member.part.name}: {running.remove(member)}"
    return f"{choice} {member.part.name}"


def weather(contract, directory, *, store: str, seed: int, size: int, disturbances: int, calm_s: float) -> None:
    """Run a storm of so many disturbances, with `calm_s` seconds between them at the most, and judge what is left."""
    events = workload(seed, size)
    expected = expected_of(events)
    chance = random.Random(seed)
    sources = Sources(contract)
    with fleet(contract, directory, 2, STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S=str(SESSION_S)) as running:
        share = -(-len(events) // (disturbances + 1))
        for start in range(0, len(events), share):
            sources.send(events[start : start + share])
            if start + share < len(events):
                # In the middle of the work, or between.
                let_pass(chance.choice([0.02, 0.1, 0.3, calm_s * chance.random()]))
                print(f"after {start + share} events:", disturb(running, chance))
                let_pass(calm_s * chance.random())
        running.wait_ready()
        judge(contract, running, expected, store)
        # What is in the changelogs alone has to be the same.
        for member in running.wanted:
            assert running.remove(member) == 0
        heir = running.add(STREAMS_STORE="memory")
        heir.part.wait_ready()
        with Views([heir.part.url], TOKEN) as views:
            assert views.differences(expected) == []
        print("ended by themselves:", *running.reasons, sep="\n  ")


def judge(contract, running: Fleet, expected, store: str) -> None:
    await_committed(contract, within=90)

    def differences() -> list[str]:
        found = outcome_of(contract).differences(expected)
        print(f"figure: {store}: {expected}; {len(found)} differences")
        return found

    # A guard looks for what others have written every few seconds.
    eventually(lambda: _none(differences()), within=30)
    await_committed(contract)
    with Views(running.urls, TOKEN) as views:
        found = views.differences(expected)
    print(f"figure: {store}: views: {len(found)} differences; exits {[member.exits for member in running.members]}")
    assert found == []
    assert differences() == []


def _none(found: list[str]) -> bool:
    assert not found, "\n".join(found[:20])
    return True


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_a_storm_leaves_no_difference(contract, tmp_path, store):
    weather(contract, tmp_path, store=store, seed=5, size=2_000, disturbances=8, calm_s=2)


@pytest.mark.long
@pytest.mark.timeout(1_500)
@pytest.mark.parametrize("store", ["memory", "rocksdb"])
@pytest.mark.parametrize("seed", [1, 2])
def test_a_long_storm_leaves_no_difference(contract, tmp_path, store, seed):
    weather(contract, tmp_path, store=store, seed=seed, size=20_000, disturbances=40, calm_s=3)
