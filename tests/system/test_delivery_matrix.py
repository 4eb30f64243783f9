"""A bridge and a worker under load from a sender that never retries; one accident after the other happens to them.

For each: what was lost of what was answered with a 2xx (nothing: it is in its topic, and every state in the views is
what was sent), and what the operator saw, in `/readyz`, a metric or the log. All that docs/delivery.md lists is here.
"""

from collections.abc import Callable, Iterator

import pytest

from support.delivery_world import World, running_world
from support.load import SENDER_PATIENCE_S
from support.matrix import first, join, machine, move, power, processes, requests, servers, topics
from support.wait import eventually

pytestmark = [pytest.mark.integration]

Case = Callable[[World, int], str]

CASES: dict[str, Case] = {
    "SIGKILL of a process of the bridge": processes.sigkill_of_a_worker,
    "restart": processes.restart,
    "SIGKILL of the supervisor": processes.supervisor_is_killed,
    "SIGKILL of all processes while the spool fills, and while it drains": (
        processes.killed_while_the_spool_fills_and_drains
    ),
    "upgrade that cannot start": processes.upgrade_that_cannot_start,
    "SIGTERM while an upgrade runs": processes.stop_while_an_upgrade_runs,
    "tokens file is broken, and a process dies": processes.tokens_file_that_is_broken,
    "Kafka does not answer": servers.kafka_that_does_not_answer,
    "Kafka is killed": servers.kafka_that_is_killed,
    "registry is killed, and a process dies": servers.registry_that_is_killed,
    "registry answers nonsense to those that start, one of which dies": servers.registry_that_answers_nonsense,
    "registry lost its data, and others registered first": servers.registry_that_lost_its_data,
    "topic is deleted": topics.topic_that_is_deleted,
    "topic has wrong settings": topics.topic_with_wrong_settings,
    "operator chose other settings of a topic": topics.topic_with_settings_of_an_operators_choice,
    "suppression list is lost": topics.suppression_list_that_is_lost,
    "more partitions, and a move to other topics": move.more_partitions,
    "spool is removed, and all processes die": machine.spool_that_is_removed,
    "spool is moved, and all processes die": machine.spool_that_is_moved,
    "spool is mounted over": machine.spool_that_is_mounted_over,
    "spool is read-only": machine.spool_that_is_read_only,
    "leftover spools cannot be opened or removed": machine.leftover_that_cannot_be_opened,
    "no descriptor is left": requests.no_descriptor_is_left,
    "a thousand at once": requests.many_at_once,
    "more bytes than memory": requests.more_bytes_than_memory,
    "more connections than may be": requests.more_connections_than_may_be,
    "requests in other forms": requests.requests_in_other_forms,
    "wrong path": requests.wrong_path,
    "what is no request": requests.what_is_no_request,
    "requests that are no events": requests.requests_that_are_no_events,
    "ids that are long": requests.ids_that_are_long,
    "conversation whose row comes last": requests.conversation_whose_row_comes_last,
    "request that waits too long for memory": requests.request_that_waits_too_long_for_memory,
    "disk is full": machine.disk_that_is_full,
    "restart while the disk is full, and a process dies": machine.restart_while_the_disk_is_full,
    "no room for the quarantine": machine.quarantine_without_room,
    "machine's clock is wrong": machine.clock_that_is_wrong,
    "SIGKILL of the worker": join.worker_is_killed,
    "worker stands still": join.worker_stands_still,
    "worker's disk is full": join.worker_without_room,
    "changelogs are emptied": join.changelogs_are_emptied,
    "changelogs are made anew": join.changelogs_are_made_anew,
    "changelogs and states are made anew under the worker": join.logs_are_made_anew_under_the_worker,
    "changelogs are missing until the worker ends": join.changelogs_are_missing_until_the_worker_ends,
    "changelogs are made anew while the store is elsewhere": join.changelogs_are_made_anew_while_the_store_is_elsewhere,
    "retention takes what was not read": join.retention_takes_what_was_not_read,
    "positions of somebody else": join.positions_of_somebody_else,
    "positions from a backup, of a topic that was created again": join.positions_from_a_backup,
    "row of a former version": join.row_that_a_former_version_took,
    "event that ends workers": join.event_that_ends_workers,
    "two workers with one address": join.two_workers_with_one_address,
    "files of stores are missing": join.files_of_stores_are_missing,
    "poison": join.poison,
    "flood of one organization": requests.flood_of_one_organization,
    "Kafka is down at a first start": first.first_start_without_kafka,
    "registry is down at a first start, and has no schemas": first.first_start_without_the_registry,
    "machine loses its power": power.machine_that_loses_its_power,
    "SIGKILL of the bridge under `bridge up`": first.bridge_up_whose_bridge_is_killed,
    # The last ones. The successor is in the group of processes of the first, and then the topics are gone.
    "upgrade": processes.upgrade,
    "broker comes back with an emptied disk": servers.broker_whose_disk_was_emptied,
}

#: How often processes are killed that have read and not answered requests, on connections that were new.
KILLED = {name: 1 for name in CASES if "die" in name or "SIGKILL of a process" in name} | {
    "SIGKILL of all processes while the spool fills, and while it drains": 4
}
#: What can be stored nowhere is refused, and so is what no memory comes for in time.
REFUSED = {
    "disk is full": "not_stored",
    "no room for the quarantine": "not_stored",
    "spool is read-only": "not_stored",
    "more bytes than memory": "overloaded",
    "request that waits too long for memory": "overloaded",
}


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("matrix")) as running:
        yield running


@pytest.mark.parametrize("name", CASES)
def test_nothing_is_lost_and_the_operator_sees_why(world: World, name: str):
    organization = f"case{[*CASES].index(name)}"
    world.send(organization)
    world.some_more()
    lines = len(world.fleet.lines)
    seen = CASES[name](world, len(world.log))
    before = world.load.count("published")
    eventually(lambda: world.load.count("published") > before + 20, within=90)
    world.send(f"after-{organization}")
    world.all_answered()
    eventually(lambda: world.bridge.spooled == 0, within=90)
    judgement = world.judge.judge(organization)
    if judgement.differences:
        print("the worker's log:", *world.fleet.lines[lines:], sep="\n")
    attempts = world.judge.attempts_of(organization)
    unanswered = sum(attempt.status is None for attempt in attempts)
    refused = [attempt.answer["reason"] for attempt in attempts if attempt.status not in {202, None}]
    slowest = max(attempt.seconds for attempt in attempts)
    print(
        f"\nfigure: {name}: lost: {len(judgement.lost)} of {len(judgement.accepted)},"
        f" states that are not as sent: {len(judgement.differences)}, unanswered: {unanswered},"
        f" refused: {len(refused)}, slowest: {slowest:.1f} s; the operator saw: {seen}"
    )
    assert judgement.accepted
    assert judgement.lost == set()
    assert judgement.differences == []
    assert unanswered <= 5 * KILLED.get(name, 0)
    assert set(refused) <= {REFUSED.get(name)}
    assert slowest < SENDER_PATIENCE_S + 1
