"""What others do to the join's logs and its group, mostly while no worker runs: nothing is silent."""

import asyncio

import pytest
from aiokafka.admin import AIOKafkaAdminClient
from confluent_kafka import Consumer, TopicPartition
from confluent_kafka.admin import AdminClient, DeletedRecords, OffsetSpec

from openbsp.kafka.topics import Topics
from streams.engine.damage import TOPIC
from streams.engine.guard import note, noted
from support import look
from support.group_positions import commit
from support.join_cases import inserted, opened, status_of
from support.join_fleet import TOKEN, Fleet, fleet
from support.join_outcome import await_committed, expected_of, outcome_of, records
from support.join_sources import Sources
from support.topic_settings import change_settings, empty
from support.wait import eventually

pytestmark = pytest.mark.integration

CHANGELOGS = ("streams-messages-changelog", "streams-conversations-changelog")
STATES = ("message-state", "conversation-state")
SOURCES = ("messages", "conversations", "streams-contributions")
EVENTS = [
    *(opened(f"c{number}", 1) for number in range(20)),
    *(inserted(f"m{number}", f"c{number % 20}", "outgoing", 2) for number in range(40)),
    *(status_of(f"m{number}", "delivered", 3) for number in range(40)),
]


@pytest.fixture
def admin(contract):
    return AdminClient({**contract.kafka.librdkafka(), "log_level": 0})


def joined(contract, tmp_path, store: str) -> Sources:
    """Let a worker join the events, and end it."""
    sources = Sources(contract)
    sources.send(EVENTS)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE=store) as running:
        await_committed(contract)
        assert outcome_of(contract).differences(expected_of(EVENTS)) == []
        running.remove(running.members[0])
    return sources


def directory(tmp_path, name: str = "first"):
    """Return a directory for the workers' data and logs."""
    (tmp_path / name).mkdir(exist_ok=True)
    return tmp_path / name


def lost(url: str) -> float:
    return metric(url, "streams_records_lost_total{")


def metric(url: str, name: str) -> float:
    return look.metric(url, TOKEN, name)


def said(running, words: str) -> bool:
    return any(words in line for line in running.lines)


def assert_nothing_lost(contract, events, saw: str) -> None:
    """Compare the states with what the events must lead to; `saw` is what the operator did."""
    differences = outcome_of(contract).differences(expected_of(events))
    print(f"figure: lost: {len(differences)} of the states of {len(events)} events; the operator saw: {saw}")
    assert differences == []


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_changelogs_that_were_created_again_are_complete_again_and_so_are_the_states(contract, tmp_path, admin, store):
    sources = joined(contract, tmp_path, store)
    names = [contract.topic(name) for name in CHANGELOGS]
    keys = {name: {record.key() for record in records(contract, name)} for name in CHANGELOGS}
    for deleted in admin.delete_topics(names).values():
        deleted.result(10)
    eventually(lambda: sorted(Topics(contract.kafka, contract.topics).apply()) == sorted(names))
    more = [status_of(f"m{number}", "read", 4) for number in range(40)]
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE=store) as running:
        sources.send(more)
        await_committed(contract)
        eventually(lambda: said(running, "it was created again"))
        eventually(lambda: metric(running.urls[0], "streams_changelogs_repaired_total{") > 0)
        assert_nothing_lost(contract, [*EVENTS, *more], "it was created again")
        eventually(
            lambda: all({record.key() for record in records(contract, name)} >= keys[name] for name in CHANGELOGS)
        )
        running.remove(running.members[0])
    # Whoever has nothing on disk finds everything in the changelogs.
    final = [status_of("m1", "deleted", 5)]
    with fleet(contract, directory(tmp_path, "other"), 1, STREAMS_STORE=store) as running:
        sources.send(final)
        await_committed(contract)
        assert not said(running, "it was created again")
        assert outcome_of(contract).differences(expected_of([*EVENTS, *more, *final])) == []


def create_again(admin, contract, names) -> None:
    """Delete topics with all that they have, and create them at once."""
    full = [contract.topic(name) for name in names]
    for deleted in admin.delete_topics(full).values():
        deleted.result(10)
    made: set[str] = set()
    eventually(lambda: made.update(Topics(contract.kafka, contract.topics).apply()) or made == set(full))


def keys_of(contract, names) -> dict[str, set[bytes | None]]:
    return {name: {record.key() for record in records(contract, name)} for name in names}


def await_keys(contract, keys: dict[str, set[bytes | None]]) -> None:
    """Wait until topics have all keys again."""
    eventually(
        lambda: all(found >= keys[name] for name, found in keys_of(contract, keys).items()), within=60, every=0.5
    )


def await_whole(contract) -> None:
    """Wait until a worker has noted that all logs are complete; whoever follows one that ends before writes them again.

    Notes say 0 of a log that is written again. Trap: confluent_kafka reads notes beyond their end.
    """

    async def noted_ends() -> list[int]:
        admin = AIOKafkaAdminClient(bootstrap_servers=contract.kafka.bootstrap_servers)
        await admin.start()
        try:
            committed = await admin.list_consumer_group_offsets(f"{contract.prefix}streams")
        finally:
            await admin.close()
        notes = [noted(left.metadata) for left in committed.values()]
        return [note[log] for note in notes for log in (*CHANGELOGS, *STATES) if log in note]

    await_committed(contract)
    eventually(lambda: all(asyncio.run(noted_ends())), within=60, every=0.5)


def ends_of(admin, contract, names) -> dict[tuple[str, int], int]:
    places = [
        TopicPartition(contract.topic(name), number) for name in names for number in range(contract.topics.partitions)
    ]
    ends = admin.list_offsets({tp: OffsetSpec.latest() for tp in places})
    return {(tp.topic, tp.partition): end.result(10).offset for tp, end in ends.items()}


def assert_whole_for_the_next(contract, tmp_path, sources, events) -> None:
    """Let a worker without anything on its disk go on: it finds everything, and nothing wrong."""
    events = [*events, status_of("m1", "deleted", 5)]
    with fleet(contract, directory(tmp_path, "other"), 1, STREAMS_STORE="memory") as running:
        sources.send(events[-1:])
        await_committed(contract)
        assert not said(running, "All of its keys are written once more")
        assert_nothing_lost(contract, events, "created again, or emptied")


@pytest.mark.parametrize("store", ["memory", "rocksdb"])
@pytest.mark.parametrize("names", [CHANGELOGS, STATES], ids=["changelogs", "states"])
def test_logs_that_are_created_again_under_a_worker_are_whole_again(contract, tmp_path, admin, names, store):
    """Also when the events are gone, unless changelogs were the only copy of the tables."""
    sources = Sources(contract)
    sources.send(EVENTS)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE=store) as running:
        await_committed(contract)
        keys = keys_of(contract, names)
        if (names, store) != (CHANGELOGS, "memory"):
            lose_records(admin, contract, *SOURCES)
        create_again(admin, contract, names)
        more = [status_of("m1", "read", 4)]
        sources.send(more)
        await_keys(contract, keys)
        await_committed(contract)
        assert_nothing_lost(contract, [*EVENTS, *more], "created again")
        eventually(lambda: metric(running.urls[0], "streams_changelogs_repaired_total{") > 0)
        eventually(lambda: said(running, "created again"))
        await_whole(contract)
        running.remove(running.members[0])
    assert_whole_for_the_next(contract, tmp_path, sources, [*EVENTS, *more])


def test_changelogs_that_are_missing_until_their_worker_ends_are_whole_again(contract, tmp_path, admin):
    """It cannot write then, and has on its disk what was in memory only, also when the events are gone."""
    sources = Sources(contract)
    sources.send(EVENTS)
    more = [status_of("m1", "read", 4)]
    with fleet(contract, directory(tmp_path), 1, STREAMS_SESSION_TIMEOUT_S="15") as running:
        await_committed(contract)
        keys = keys_of(contract, CHANGELOGS)
        lose_records(admin, contract, *SOURCES)
        for deleted in admin.delete_topics([contract.topic(name) for name in CHANGELOGS]).values():
            deleted.result(10)
        sources.send(more)
        eventually(lambda: running.members[0].exits, within=60)
        Topics(contract.kafka, contract.topics).apply()
        await_committed(contract)
        assert_nothing_lost(contract, [*EVENTS, *more], "the broker did not take a record")
        await_keys(contract, keys)
        await_whole(contract)
        running.remove(running.members[0])
    assert_whole_for_the_next(contract, tmp_path, sources, [*EVENTS, *more])


@pytest.mark.parametrize("longer", [False, True], ids=["shorter", "longer"])
def test_a_store_that_was_elsewhere_while_its_changelog_was_created_again_reads_the_new_one(
    contract, tmp_path, admin, longer
):
    """Another worker has made it whole: shorter, as usual, or longer than what the store had read of the former one."""
    sources = joined(contract, tmp_path, "rocksdb")
    early = [status_of(f"m{number % 40}", f"early{number // 40}", 4) for number in range(320)]
    read, late = ([status_of(f"m{number}", *told) for number in range(40)] for told in (("read", 5), ("deleted", 7)))
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="rocksdb", STREAMS_COALESCE_MS="0") as running:
        sources.send(early)
        await_committed(contract)
        running.remove(running.members[0])
    former = ends_of(admin, contract, CHANGELOGS)
    create_again(admin, contract, CHANGELOGS)
    more = []
    with fleet(contract, directory(tmp_path, "other"), 1, STREAMS_STORE="rocksdb") as running:
        sources.send(read)
        await_whole(contract)
        assert any(end < former[at] for at, end in ends_of(admin, contract, CHANGELOGS).items())
        while longer and any(end <= former[at] for at, end in ends_of(admin, contract, CHANGELOGS).items()):
            some = [inserted(f"n{len(more) + n}", f"c{n % 20}", "outgoing", 6) for n in range(400)]
            sources.send(some)
            await_committed(contract)
            more += some
        running.remove(running.members[0])
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="rocksdb") as running:
        sources.send(late)
        await_committed(contract)
        assert not said(running, "created again")
        assert_nothing_lost(contract, [*EVENTS, *early, *read, *more, *late], "nothing")


@pytest.mark.parametrize("emptied", [False, True], ids=["created again", "emptied"])
@pytest.mark.parametrize("store", ["memory", "rocksdb"])
def test_state_topics_that_were_damaged_while_no_worker_ran_have_all_states_again(
    contract, tmp_path, admin, store, emptied
):
    sources = joined(contract, tmp_path, store)
    lose_records(admin, contract, *SOURCES, *(STATES if emptied else ()))
    if not emptied:
        create_again(admin, contract, STATES)
    more = [status_of("m1", "read", 4)]
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE=store) as running:
        sources.send(more)
        await_committed(contract)
        eventually(lambda: outcome_of(contract).differences(expected_of([*EVENTS, *more])) == [], every=0.5)
        eventually(lambda: said(running, "emptied" if emptied else "created again"))
        await_whole(contract)
        running.remove(running.members[0])
    assert_whole_for_the_next(contract, tmp_path, sources, [*EVENTS, *more])


def lose_records(admin, contract, *names: str) -> None:
    """Have all records of topics deleted."""
    compacted = {*names} & {*CHANGELOGS, *STATES}
    empty(admin, [*map(contract.topic, {*names} - compacted)], [*map(contract.topic, compacted)])


def test_emptied_changelogs_are_written_back_from_the_disk(contract, tmp_path, admin):
    """Also when the events are gone, so that nothing else knows the states."""
    sources = joined(contract, tmp_path, "rocksdb")
    keys = {name: {record.key() for record in records(contract, name)} for name in CHANGELOGS}
    lose_records(admin, contract, *CHANGELOGS, *SOURCES)
    more = [status_of(f"m{number}", "read", 4) for number in range(40)]
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="rocksdb") as running:
        eventually(lambda: said(running, "it was emptied, the store has all of it. It is written back"))
        eventually(lambda: metric(running.urls[0], "streams_changelogs_repaired_total{") > 0)
        sources.send(more)
        await_committed(contract)
        eventually(
            lambda: all({record.key() for record in records(contract, name)} >= keys[name] for name in CHANGELOGS)
        )
        running.remove(running.members[0])
    for attempt in ("other", "another"):
        more.append(status_of("m1", "deleted", 5))
        with fleet(contract, directory(tmp_path, attempt), 1, STREAMS_STORE="memory") as running:
            sources.send(more[-1:])
            await_committed(contract)
            assert not said(running, "it was emptied")
            assert_nothing_lost(contract, [*EVENTS, *more], "it was emptied, the store has all of it")
            running.remove(running.members[0])


def test_an_emptied_changelog_is_built_again_once(contract, tmp_path, admin):
    """With tables in memory whoever is next takes it for whole, although it does not begin with its first record."""
    joined(contract, tmp_path, "memory")
    lose_records(admin, contract, *CHANGELOGS)
    for emptied in (True, False):
        with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="memory") as running:
            await_committed(contract)
            eventually(lambda running=running, emptied=emptied: said(running, "it was emptied") is emptied)
            eventually(lambda running=running: metric(running.urls[0], "streams_unacknowledged_records") == 0)
            assert (metric(running.urls[0], "streams_changelogs_repaired_total{") > 0) is emptied
            assert_nothing_lost(contract, EVENTS, "it was emptied" if emptied else "nothing")
            running.remove(running.members[0])


def damage(directory, number: int) -> None:
    """Damage a store in one of several ways."""
    tables = sorted(directory.glob("*.sst"))
    manifest = next(directory.glob("MANIFEST-*"))
    ways = [
        tables[0].unlink,
        lambda: manifest.write_bytes(manifest.read_bytes()[: manifest.stat().st_size // 2]),
        (directory / "CURRENT").unlink,
        lambda: tables[0].write_bytes(tables[0].read_bytes()[:-40] + bytes(40)),
    ]
    ways[number % len(ways)]()


def test_damaged_stores_are_set_aside_and_read_from_their_changelogs(contract, tmp_path, admin):
    """Each store in another way. The events are gone, so that only the changelogs know the states."""
    sources = joined(contract, tmp_path, "rocksdb")
    lose_records(admin, contract, *SOURCES)
    worker = directory(tmp_path) / "worker-1" / f"{contract.prefix}streams"
    stores = [store for name in CHANGELOGS for store in sorted((worker / name).iterdir())]
    assert len(stores) == 2 * contract.topics.partitions
    for number, store in enumerate(stores):
        damage(store, number)
    more = [status_of(f"m{number}", "read", 4) for number in range(40)]
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="rocksdb") as running:
        eventually(lambda: metric(running.urls[0], "streams_stores_set_aside_total{") == len(stores))
        sources.send(more)
        await_committed(contract)
        assert_nothing_lost(contract, [*EVENTS, *more], f"streams_stores_set_aside_total {len(stores)}")
        assert running.members[0].exits == []
        running.remove(running.members[0])
    assert len(list(worker.glob("*/*.damaged"))) == len(stores)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="rocksdb") as running:
        assert not said(running, "store.set_aside")


def test_records_that_were_deleted_before_they_were_read_are_counted_and_said(contract, tmp_path, admin):
    sources = joined(contract, tmp_path, "memory")
    unread = [inserted(f"x{number}", f"c{number % 20}", "outgoing", 6) for number in range(40)]
    sources.send(unread)
    topic = contract.topic("messages")
    partitions = [TopicPartition(topic, number) for number in range(contract.topics.partitions)]
    before = {tp.partition: tp.offset for tp in committed_by_the_group(contract, partitions)}
    ends = admin.list_offsets({tp: OffsetSpec.latest() for tp in partitions})
    doomed = [TopicPartition(topic, tp.partition, end.result(10).offset) for tp, end in ends.items()]
    for deleted in admin.delete_records(doomed).values():
        assert isinstance(deleted.result(10), DeletedRecords)
    count = sum(tp.offset - before[tp.partition] for tp in doomed)
    assert count == len(unread)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="memory") as running:
        await_committed(contract)
        eventually(lambda: lost(running.urls[0]) == count)
        eventually(lambda: said(running, "records were deleted before they were read"))
        print(f"figure: gone with their records: {count}; the operator saw: streams_records_lost_total {count}")


def committed_by_the_group(contract, partitions):
    consumer = Consumer({**contract.kafka.librdkafka(), "group.id": f"{contract.prefix}streams"})
    try:
        return consumer.committed(partitions, timeout=10)
    finally:
        consumer.close()


def test_a_source_that_was_created_again_and_has_grown_beyond_the_position_is_read_from_its_first_record(
    contract, tmp_path, admin
):
    """The broker forgets the positions of a topic with it. A worker that runs commits them once more."""
    sources = joined(contract, tmp_path, "memory")
    topic = contract.topic("messages")
    partitions = [TopicPartition(topic, number) for number in range(contract.topics.partitions)]
    committed = [tp for tp in committed_by_the_group(contract, partitions) if tp.offset >= 0]
    create_again(admin, contract, ["messages"])
    again = [inserted(f"again{number}", f"c{number % 20}", "outgoing", 6) for number in range(400)]
    sources.send(again)
    ends = admin.list_offsets({tp: OffsetSpec.latest() for tp in committed})
    assert all(ends[tp].result(10).offset >= tp.offset for tp in committed)
    late = {(topic, tp.partition): (tp.offset, note({TOPIC: 1})) for tp in committed}
    commit(contract.kafka.bootstrap_servers, f"{contract.prefix}streams", late)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="memory") as running:
        await_committed(contract)
        eventually(lambda: said(running, "the topic was deleted and created again"))
        eventually(lambda: metric(running.urls[0], "streams_positions_refused_total{") == len(committed))
        assert_nothing_lost(contract, [*EVENTS, *again], "the topic was deleted and created again")
        running.remove(running.members[0])
    with fleet(contract, directory(tmp_path, "other"), 1, STREAMS_STORE="memory") as running:
        sources.send([status_of("m1", "read", 7)])
        await_committed(contract)
        assert not said(running, "created again")


def test_a_worker_starts_on_topics_that_differ_unless_that_makes_its_results_wrong(contract, tmp_path, admin):
    """Not on another policy of states. What else is wrong is told, and of topics that it does not use as well."""
    unused = [contract.topic(name) for name in ("audits", "suppressions")]
    for deleted in admin.delete_topics(unused).values():
        deleted.result(10)
    eventually(lambda: not {*unused} & admin.list_topics(timeout=10).topics.keys())
    messages, conversations, states = map(contract.topic, ("messages", "conversations", "message-state"))
    change_settings(admin, messages, retention_ms="604800000", max_message_bytes="1000000")
    change_settings(admin, conversations, cleanup_policy="compact")
    sources = Sources(contract)
    sources.send(EVENTS)
    with fleet(contract, directory(tmp_path), 1, STREAMS_STORE="memory") as running:
        await_committed(contract)
        assert_nothing_lost(contract, EVENTS, "a topic differs from the catalogue")
        for told in (
            *(f"differs from the catalogue: {name}: missing" for name in unused),
            f"differs from the catalogue: {messages}: max.message.bytes is 1000000",
            f"differs from the catalogue: {conversations}: cleanup.policy is compact",
        ):
            eventually(lambda told=told: said(running, told))
        assert not said(running, f"{messages}: retention.ms")
        assert running.members[0].exits == []
    change_settings(admin, states, cleanup_policy="delete")
    with Fleet(contract, directory(tmp_path), STREAMS_STORE="memory") as running:
        member = running.add()
        eventually(lambda: member.exits, within=60)
        eventually(lambda: said(running, f"{states}: cleanup.policy is delete"))
        assert member.exits[0] == 1
        assert not said(running, "cleanup.policy is compact")
