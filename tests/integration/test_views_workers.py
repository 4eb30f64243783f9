"""Several workers: whichever is asked, answers are whole and current or there is none, whatever happens to others."""

import random
import threading
from typing import Self

import httpx
import pytest

from support.join_cases import inserted, opened
from support.join_fleet import TOKEN, Fleet, fleet
from support.join_outcome import await_committed, expected_of
from support.join_sources import Sources
from support.join_views import Views
from support.sse_client import Copy, parse
from support.views_readers import Readers
from support.views_witness import Witness
from support.wait import SESSION_S, eventually

pytestmark = pytest.mark.integration

#: Long enough that no worker loses its session because the machine is busy.
CALM_SESSION = {"STREAMS_SESSION_TIMEOUT_S": "6"}
CONVERSATIONS = 24


def let_pass(seconds: float) -> None:
    """Let time pass: how long something lasts is what is tested."""
    threading.Event().wait(seconds)


def client(url: str) -> httpx.Client:
    """Return a client of one worker."""
    return httpx.Client(base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=15, trust_env=False)


def batch(round_number: int) -> list[dict]:
    """Return one more message for each conversation."""
    return [
        inserted(
            f"m{number:03}-{round_number:03}",
            f"c{number:03}",
            ["incoming", "outgoing"][round_number % 2],
            10 + round_number,
        )
        for number in range(CONVERSATIONS)
    ]


@pytest.fixture
def rows() -> list[dict]:
    return [opened(f"c{number:03}", number) for number in range(CONVERSATIONS)]


def test_each_worker_answers_for_all_keys_and_lists(contract, tmp_path, rows):
    events = rows + batch(0) + batch(1)
    Sources(contract).send(events)
    with fleet(contract, tmp_path, 3, **CALM_SESSION) as running:
        await_committed(contract)
        expected = expected_of(events)
        pages = []
        for url in running.urls:
            with Views([url], TOKEN) as views:
                assert views.differences(expected) == []
            with client(url) as asked:
                found, cursor = [], ""
                while cursor is not None:
                    page = asked.get(f"/conversations?limit=7{cursor and '&cursor='}{cursor}").json()
                    found += page["conversations"]
                    cursor = page["next_cursor"]
                pages.append(found)
                listed, cursor = [], ""
                while cursor is not None:
                    page = asked.get(f"/messages?limit=11{cursor and '&cursor='}{cursor}").json()
                    listed += [item["id"] for item in page["messages"]]
                    cursor = page["next_cursor"]
                sent = [event["data"] for event in events[len(rows) :]]
                sent.sort(key=lambda row: (row["timestamp"], row["id"]), reverse=True)
                assert listed == [row["id"] for row in sent]
                timeline = asked.get("/conversations/c003/messages?limit=1").json()
                assert [item["id"] for item in timeline["messages"]] == ["m003-001"]
                answer = asked.get("/conversations/c003")
                assert (
                    asked.get("/conversations/c003", headers={"If-None-Match": answer.headers["etag"]}).status_code
                    == 304
                )
                assert asked.get("/conversations/nope").status_code == 404
        assert [item["id"] for item in pages[0]] == sorted((f"c{n:03}" for n in range(CONVERSATIONS)), reverse=True)
        assert pages[0] == pages[1] == pages[2]


def test_every_worker_waits_for_what_was_written(contract, tmp_path, rows):
    sources = Sources(contract)
    sources.send(rows)
    with fleet(contract, tmp_path, 2, **CALM_SESSION, STREAMS_READ_TIMEOUT_S="12") as running:
        clients = [client(url) for url in running.urls]
        for round_number in range(12):
            number = round_number % CONVERSATIONS
            event = inserted(f"w{round_number:03}", f"c{number:03}", "incoming", 100 + round_number)
            topic, partition, offset = sources.raw("messages", event["data"]["id"].encode(), sources.value(event))
            after = f"{topic}:{partition}:{offset}"
            for asked in clients:
                found = asked.get(f"/conversations/c{number:03}", params={"after": after})
                assert found.status_code == 200, found.text
                assert found.json()["last_message"]["message_id"] == f"w{round_number:03}"
                listed = asked.get("/conversations", params={"after": after, "limit": "1"})
                assert listed.status_code == 200, listed.text
                assert listed.json()["conversations"][0]["id"] == f"c{number:03}"
                shown = asked.get(f"/messages/w{round_number:03}", params={"after": after})
                assert shown.status_code == 200, shown.text
        beyond = clients[0].get("/conversations/c000", params={"after": f"{topic}:{partition}:{offset + 1000}"})
        assert (beyond.status_code, beyond.json()["reason"]) == (503, "not_applied")
        for asked in clients:
            asked.close()


def test_no_read_fails_while_workers_are_restarted_one_after_the_other(contract, tmp_path, rows):
    Sources(contract).send(rows + batch(0))
    keys = [row["data"]["id"] for row in rows]
    with fleet(contract, tmp_path, 2, **CALM_SESSION, STREAMS_READ_WAIT_S="30") as running:
        await_committed(contract)
        with Readers(lambda: running.urls, TOKEN, keys) as readers:
            for member in running.members:
                before = readers.answered
                eventually(lambda before=before: readers.answered > before + 20)
                running.restart(member)
                eventually(lambda member=member: member.exits, within=60)
                running.wait_ready()
            before = readers.answered
            eventually(lambda: readers.answered > before + 20)
        assert readers.failed == {}
        assert [member.exits for member in running.members] == [[0], [0]], running.reasons


def test_a_stream_goes_on_when_workers_die_and_at_another_worker_when_its_own_does(contract, tmp_path, rows):
    sources = Sources(contract)
    sources.send(rows)
    events = list(rows)
    with fleet(contract, tmp_path, 2, **CALM_SESSION) as running:
        first, second = running.members
        heard = Copy()
        with Listener(first.part.url, heard) as listener:
            eventually(lambda: heard.ready and len(heard.conversations) == CONVERSATIONS)
            for round_number, harm in enumerate([None, second, None]):
                if harm is not None:
                    running.kill(harm)
                more = batch(round_number)
                events += more
                sources.send(more)
                eventually(lambda: _agrees(heard, events), within=60)  # noqa: B023 called at once
            assert listener.begun == 1, "it went on, it did not begin anew"
            running.kill(first)
            listener.ended.wait(30)
        more = batch(3)
        events += more
        sources.send(more)
        with Listener(second.part.url, heard) as listener:
            eventually(lambda: _agrees(heard, events), within=60)
            assert listener.begun == 0, "another worker goes on from the same id"


def _agrees(heard: Copy, events: list[dict]) -> bool:
    expected = expected_of(events).conversations
    counts = {key: item["message_count"] for key, item in heard.conversations.items()}
    wanted = {key: state["message_count"] for key, state in expected.items()}
    assert heard.ready
    assert counts == wanted
    return True


class Listener:
    """Reads `/events` of one worker in a thread, from the copy's last id on; a refused stream is asked for again."""

    def __init__(self, url: str, heard: Copy) -> None:
        self.begun = 0
        self.ended = threading.Event()
        self._heard = heard
        self._stop = threading.Event()
        self._client = client(url)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._client.close()
        self._thread.join(30)

    def _run(self) -> None:
        while not self._stop.wait(0.2):
            headers = {} if self._heard.last_id is None else {"Last-Event-ID": self._heard.last_id}
            try:
                with self._client.stream("GET", "/events", headers=headers) as answer:
                    if answer.status_code == 200:
                        self._read(answer)
                        return
            except (httpx.TransportError, httpx.StreamError, RuntimeError):
                if self.begun or self._stop.is_set():
                    break
        self.ended.set()

    def _read(self, answer: httpx.Response) -> None:
        block = ""
        try:
            for line in answer.iter_lines():
                block += f"{line}\n"
                if not line:
                    for event in parse(block):
                        self.begun += event.name == "begin"
                        self._heard.hear(event)
                    block = ""
        finally:
            self.ended.set()


def disturb(running: Fleet, chance: random.Random, most: int) -> str:
    """Do something to a worker, and say what."""
    awake = [member for member in running.wanted if not member.paused and member.part.running]
    choices = ["kill", "kill", "pause"]
    if len(running.wanted) < most:
        choices.append("add")
    if len(awake) > 1 and len(running.wanted) > 1:
        choices.append("remove")
    choice = chance.choice(choices if awake else ["add"])
    if choice == "add":
        return f"add {running.add().part.name}"
    member = chance.choice(awake)
    if choice == "kill":
        running.kill(member)
    elif choice == "pause":
        running.pause(member, SESSION_S + 2)
    else:
        running.remove(member)
    return f"{choice} {member.part.name}"


@pytest.mark.timeout(240)
@pytest.mark.parametrize(("workers", "store", "seed"), [(2, "memory", 3), (3, "rocksdb", 4)])
def test_no_answer_is_old_or_partial_while_workers_come_and_go(  # noqa: PLR0917 fixtures
    contract, tmp_path, rows, workers, store, seed
):
    chance = random.Random(seed)
    sources = Sources(contract)
    sources.send(rows)
    events = list(rows)
    keys = [f"c{number:03}" for number in range(CONVERSATIONS)]
    with (
        fleet(contract, tmp_path, workers, STREAMS_STORE=store, STREAMS_SESSION_TIMEOUT_S=str(SESSION_S)) as running,
        Witness(lambda: running.urls, TOKEN, keys) as witness,
    ):
        for round_number in range(20):
            more = batch(round_number)
            events += more
            sources.send(more)
            if round_number % 5 == 2:
                print(f"round {round_number}:", disturb(running, chance, workers))
            let_pass(0.6)
        running.wait_ready()
        await_committed(contract, within=90)
        expected = expected_of(events)
        for url in running.urls:
            with Views([url], TOKEN) as views:
                eventually(lambda views=views: not views.differences(expected), within=30)
        print(dict(witness.answers))
    assert witness.faults == []
    assert witness.answers["200"] > 100
    assert witness.answers["list 200"] > 20
