"""A second program runs on the engine: words are counted exactly, whoever is killed, stopped or added meanwhile."""

import json
import os
import random
import secrets
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Self

import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from support.consume import read_all
from support.wait import SESSION_S, eventually

pytestmark = pytest.mark.integration

PARTITIONS = 4
WORDS = [f"word{number}" for number in range(40)]


class Workers:
    """Processes of the program under a supervisor: each is started again when it ends."""

    def __init__(self, variables: dict[str, str], directory: Path, count: int) -> None:
        self._environment = {**os.environ, **variables, "PYTHONPATH": str(Path(__file__).parents[1])}
        self._directory = directory
        self.processes: list[subprocess.Popen[bytes] | None] = [None] * count
        self.started = 0
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._watcher.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._watcher.join()
        for process in self.processes:
            if process is not None:
                process.kill()
                process.wait()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            for number, process in enumerate(self.processes):
                if process is None or process.poll() is not None:
                    self.processes[number] = self._start(number)

    def _start(self, number: int) -> "subprocess.Popen[bytes]":
        self.started += 1
        variables = {"WORDS_URL": f"http://127.0.0.1:{20000 + number}"}
        if "WORDS_DATA_DIR" in self._environment:
            variables["WORDS_DATA_DIR"] = str(self._directory / f"worker-{number}")
        # Trap: Faust's command line opens its web server; a second worker would find its port taken and end.
        command = [sys.executable, "-m", "faust", "-A", "support.words_program", "worker", "--without-web"]
        with (self._directory / f"worker-{number}.log").open("ab") as log:
            return subprocess.Popen(command, env=self._environment | variables, stdout=log, stderr=log)


@pytest.fixture
def prefix(stack):
    """Make the topics of a test."""
    prefix = f"w{secrets.token_hex(4)}."
    admin = AdminClient({"bootstrap.servers": stack.kafka})
    compacted = {"cleanup.policy": "compact"}
    topics = [
        NewTopic(f"{prefix}words", PARTITIONS, 1),
        NewTopic(f"{prefix}counts", PARTITIONS, 1, config=compacted),
        NewTopic(f"{prefix}set-aside", 1, 1),
    ]
    for made in admin.create_topics(topics).values():
        made.result(10)
    yield prefix
    for deleted in admin.delete_topics([f"{prefix}{name}" for name in ("words", "counts", "set-aside")]).values():
        deleted.result(10)


def counted(kafka: str, prefix: str) -> dict[str, int]:
    """Return what whoever has nothing but the changelog knows."""
    config = {"bootstrap.servers": kafka, "group.id": "judge", "enable.partition.eof": True, "fetch.wait.max.ms": 20}
    consumer = Consumer({**config, "log_level": 0})
    found: dict[str, int] = {}
    try:
        consumer.assign([TopicPartition(f"{prefix}counts", number, 0) for number in range(PARTITIONS)])
        ends = 0
        while ends < PARTITIONS:
            message = consumer.poll(10)
            assert message is not None
            if message.error() is not None:
                ends += 1
            elif message.key():  # a mark has none
                found[json.loads(message.key())] = json.loads(message.value())[0]
    finally:
        consumer.close()
    return found


@pytest.mark.timeout(280)
@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_words_are_counted_exactly_while_workers_come_and_go(stack, prefix, tmp_path, store):
    chance = random.Random(store)
    said: Counter[str] = Counter()
    producer = Producer({"bootstrap.servers": stack.kafka, "partitioner": "murmur2_random"})
    variables = {"WORDS_KAFKA": stack.kafka, "WORDS_PREFIX": prefix, "WORDS_APP_ID": f"{prefix}words"}
    if store == "rocksdb":
        variables["WORDS_DATA_DIR"] = str(tmp_path)
    with Workers(variables, tmp_path, 2) as workers:
        disturbances = Counter()
        for round_number in range(6):
            for word in chance.choices(WORDS, k=400):
                said[word] += 1
                producer.produce(f"{prefix}words", b"", word.encode())
            producer.flush()
            enough = said.total() * 3 // 4
            eventually(lambda enough=enough: sum(counted(stack.kafka, prefix).values()) >= enough, within=60, every=0.3)
            worker = chance.choice([process for process in workers.processes if process is not None])
            harm = ["kill", "pause", "kill", "stop", "pause", "kill"][round_number]
            disturbances[harm] += 1
            if harm == "kill":
                worker.kill()
            elif harm == "stop":
                worker.terminate()
            else:
                worker.send_signal(signal.SIGSTOP)
                # Longer than its session: what is tested is how long it stands still.
                threading.Event().wait(SESSION_S + 2)
                worker.send_signal(signal.SIGCONT)
        eventually(lambda: _same(counted(stack.kafka, prefix), said), within=90, every=0.5)
        print(f"figure: {said.total()} words, {dict(disturbances)}, {workers.started} processes, 0 wrong counts")


@pytest.mark.timeout(280)
@pytest.mark.parametrize(
    "endless",
    [
        pytest.param({}, id="kills"),
        # Each worker is ended by its watchdog, twice the session time-out later.
        pytest.param({"WORDS_ENDLESS": "yes"}, id="never comes back", marks=pytest.mark.long),
    ],
)
def test_a_word_that_ends_whoever_counts_it_is_set_aside_and_its_partition_goes_on(stack, prefix, tmp_path, endless):
    """Whichever worker has the partition: what is in work is noted with the positions of the group."""
    said: Counter[str] = Counter()
    places: list[str] = []

    def produced(_: object, message: Message) -> None:
        if message.key() == b"deadly":
            places.append(f"{message.topic()}[{message.partition()}]@{message.offset()}")

    producer = Producer({"bootstrap.servers": stack.kafka, "partitioner": "murmur2_random"})
    for word in [*WORDS * 5, "deadly", *WORDS * 5]:
        producer.produce(f"{prefix}words", b"", word.encode(), on_delivery=produced)
        said[word] += 1
    producer.flush()
    del said["deadly"]
    variables = {"WORDS_KAFKA": stack.kafka, "WORDS_PREFIX": prefix, "WORDS_APP_ID": f"{prefix}words"}
    with Workers(variables | endless | {"WORDS_DEADLY": "deadly"}, tmp_path, 2) as workers:
        eventually(lambda: _same(counted(stack.kafka, prefix), said), within=240, every=1)
        set_aside = read_all(stack.kafka, f"{prefix}set-aside", within=30)
        # More than once where a table was built from its sources again: its owner had ended before it was complete.
        assert {message.value().decode() for message in set_aside} == set(places)
        deaths = workers.started - 2
        print(
            f"figure: an event that ends workers, set aside after {deaths} ends; {said.total()} words, 0 wrong counts"
        )


def _same(found: dict[str, int], said: Counter[str]) -> bool:
    assert found == dict(said)
    return True
