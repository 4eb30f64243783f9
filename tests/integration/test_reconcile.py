"""`bridge reconcile` from end to end: a sender that never retries, a bridge that is killed, and rows that are deleted.

Afterwards each state is what the sender's database has, and no other is there.
"""

import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from prometheus_client.parser import text_string_to_metric_families

from avro.columns import ENTITIES, Kind
from avro.rows import id_of
from bridge.reconcile.index import Index, Progress
from bridge.reconcile.states import States
from openbsp.kafka import ends
from openbsp.kafka.topics import Topics
from openbsp_testkit.postgrest import Postgrest, running_postgrest
from openbsp_testkit.rows import Organization, Webhook
from openbsp_testkit.sender import Delivery, FakeSender
from support.consume import AvroReader, headers_of, newest_by_key, read_all
from support.environment import clean_environment
from support.join_outcome import await_committed
from support.look import shown
from support.wait import eventually

pytestmark = pytest.mark.integration

BRIDGE = Path(sys.executable).with_name("bridge")
TOKEN = "token-of-the-tests"
OUTCOMES = ("missing", "different", "gone", "confirmed")
CONVERSATIONS = 6
#: RECONCILE_SETTLE_S: younger rows are left to the next run.
SETTLE_S = 60


@pytest.mark.timeout(900)
def test_after_an_outage_the_states_are_what_the_sender_has(contract, start_bridge, start_streams, tmp_path):
    bridge, views = start_bridge(), start_streams(STREAMS_STORE="memory").url
    start = datetime.now(UTC) - timedelta(hours=48)
    organizations = [Organization(seed=seed, start=start) for seed in (1, 2)]
    history = [webhook for organization in organizations for webhook in organization.history(CONVERSATIONS, 20)]
    history[len(history) // 4 : len(history) // 4] = people(organizations, history)
    sender = FakeSender(bridge.url, TOKEN, repeats=0.1, seed=3)
    third = len(history) // 3
    begin = next(
        number
        for number, webhook in enumerate(history)
        if (webhook.entity, webhook.data["organization_id"]) == ("conversations", organizations[1].id)
    )
    assert third + 40 < begin < len(history) - third
    with running_postgrest(*ENTITIES) as platform:
        commit(platform, history)
        sender.send(history[:third])
        lose_some(bridge, sender, history[third:begin], history[begin:-third])
        removed = delete_some(platform)
        bridge.start()
        sender.send(history[-third:])
        await_committed(contract)
        # A crash of PostgreSQL takes waiting webhooks with it.
        told = {webhook.data.get("id") for webhook in history[:third]}
        known = next(row for row in platform.rows("conversations") if row["id"] in told)
        platform.put(
            "conversations", **known | {"name": "Ada", "updated_at": (start + timedelta(hours=24)).isoformat()}
        )

        def reconcile(*arguments: str) -> tuple[int, dict[str, Any]]:
            return run(contract, bridge.url, platform.url, tmp_path, *arguments)

        code, dry = reconcile("--dry-run")
        assert code == 1
        assert sum(row["missing"] for row in dry["rows"]) > 0
        ask_for_orphans(reconcile, platform, organizations[1].id)
        with reconciling(contract, bridge.url, platform.url, tmp_path) as gauge:
            the_gap_rises_and_falls(gauge, views, platform, removed)
        code, second = reconcile("--since", "3d")
        assert code == 0, second
        assert [row["missing"] + row["different"] + row["gone"] for row in second["rows"]] == [0] * len(second["rows"])
        assert sum(row["compared"] for row in second["rows"]) == sum(len(platform.rows(t)) for t in ENTITIES)
        eventually(lambda: agree(contract, platform) or True, within=90)

        verified, lines = bridge_command(contract, tmp_path, "audit", "verify")
        assert verified == 0
        assert re.fullmatch(r"(\d+) of \1 audits are signed and unchanged\n", lines), lines
        assert f"run {second['run']}" in bridge_command(contract, tmp_path, "audit", "show")[1]

        # A key that was revoked shows no rows: nothing is deleted for that.
        platform.readers = {}
        code, revoked = reconcile("--allow-deletes", "--since", "3d")
        assert code == 1
        assert len(revoked["problems"]) == 8
        assert agree(contract, platform) is None
    events = read_all(contract.kafka.bootstrap_servers, contract.topic("messages"))
    reader = AvroReader(contract.registry.url)
    marked = [headers_of(event).get("ce_reconciled") == "true" for event in events]
    assert [reader.value(event)["reconciled"] for event in events] == marked
    assert any(marked)
    assert not all(marked)


def test_how_far_runs_came_does_not_count_for_a_state_topic_that_is_created_again(contract, tmp_path):
    topic, admin = contract.topic("message-state"), AdminClient(contract.kafka.librdkafka())

    def read() -> Mapping[str, str]:
        with States(contract.kafka, contract.registry, contract.topics, index, TABLES) as states:
            states.catch_up()
            return states.replaced

    def is_led() -> bool:
        try:
            return bool(ends.wait_for(admin, [(topic, number) for number in range(contract.topics.partitions)], 10))
        except KafkaException as error:  # a topic has its leaders a moment later
            raise AssertionError from error

    with Index(tmp_path) as index:
        assert read() == {}
        for entity in TABLES:
            index.advance(entity, "", Progress(0, 9))
        assert read() == {}
        admin.delete_topics([topic])[topic].result(10)
        assert eventually(lambda: Topics(contract.kafka, contract.topics).apply() == [topic])
        eventually(is_led)
        assert read() == {"messages": topic}
        assert [index.progress(entity, "") for entity in TABLES] == [None, Progress(0, 9)]
        assert read() == {}


def lose_some(bridge: Any, sender: FakeSender, before: list[Webhook], after: list[Webhook]) -> None:
    """Send ten at a time, and kill the bridge meanwhile, when twenty are accepted: `after` is sent when it is dead."""
    told: list[Delivery] = []
    killed = threading.Event()

    def send() -> None:
        for start in range(0, len(before), 10):
            told.extend(sender.send(before[start : start + 10]))
        killed.wait()
        told.extend(sender.send(after))

    with ThreadPoolExecutor(1) as pool:
        sent = pool.submit(send)
        try:
            eventually(lambda: sum(not each.lost for each in told) >= 20, within=90, every=0.005)
            bridge.kill()
        finally:
            killed.set()
        sent.result()
    lost = sum(each.lost for each in told)
    print(f"\nfigure: bridge killed under load: {len(told) - lost} accepted, {lost} lost")
    assert len(told) - lost >= 20
    assert lost >= len(after)


def ask_for_orphans(
    reconcile: Callable[..., tuple[int, dict[str, Any]]], platform: Postgrest, organization: str
) -> None:
    """Find the organization's conversations, which began while the bridge was away: messages of them came later."""
    begun = {row["id"] for row in platform.rows("conversations") if row["organization_id"] == organization}
    code, found = reconcile("--orphans", "--dry-run", "--organization", organization)
    assert code == 1, found
    assert {row["organization_id"] for row in found["rows"]} == {organization}
    counts = {row["entity"]: (row["orphans"], row["missing"]) for row in found["rows"]}
    assert counts["conversations"] == (CONVERSATIONS, len(begun)), found
    assert {sample["id"] for sample in found["samples"]["orphaned conversations"]} >= begun


TABLES = ("messages", "conversations")


def people(organizations: list[Organization], history: list[Webhook]) -> list[Webhook]:
    """Return the contact and the address of each conversation."""
    told: list[Webhook] = []
    of = {organization.id: organization for organization in organizations}
    for webhook in history:
        if webhook.entity == "conversations" and webhook.action == "insert":
            organization = of[webhook.data["organization_id"]]
            person = organization.contact(organization.new_text())
            told += [person.insert, person.at(webhook.data["contact_address"], name="at the service").insert]
    return told


def commit(platform: Postgrest, history: list[Webhook]) -> None:
    for table, entity in ENTITIES.items():
        latest = {id_of(entity, webhook.data): webhook.data for webhook in history if webhook.entity == table}
        platform.put_all(table, list(latest.values()))


def delete_some(platform: Postgrest) -> list[str]:
    """Delete messages, a conversation with its messages, and a contact, of which nothing is told.

    Returns at which addresses of the views they were.
    """
    messages = platform.rows("messages")
    whole = messages[0]["conversation_id"]
    gone = {message["id"] for message in messages[::9]} | {m["id"] for m in messages if m["conversation_id"] == whole}
    platform.remove("messages", *gone)
    platform.remove("conversations", whole)
    platform.remove("contacts", platform.rows("contacts")[0]["id"])
    return [f"conversations/{whole}", *(f"messages/{id_}" for id_ in sorted(gone))]


def are_gone(views: str, paths: list[str]) -> None:
    """Look for what was deleted in the views: by its address, and in the lists."""
    with httpx.Client(base_url=views, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30) as client:
        assert {client.get(f"/{path}").status_code for path in paths} == {404}
        ids = {path.partition("/")[2] for path in paths}
        shown = [row["id"] for row in client.get("/conversations", params={"limit": 500}).json()["conversations"]]
        assert shown
        for id_ in shown:
            page = client.get(f"/conversations/{id_}/messages", params={"limit": 500}).json()
            shown = [*shown, *(message["id"] for message in page["messages"])]
        assert ids.isdisjoint(shown)


def the_gap_rises_and_falls(gauge: Callable[..., float], views: str, platform: Postgrest, removed: list[str]) -> None:
    """Watch the metrics of `bridge reconcile --every`; what is deleted before and meanwhile leaves the views."""
    assert eventually(lambda: gauge("bridge_reconcile_missing") > 0, within=90)
    assert eventually(lambda: gauge("bridge_reconcile_missing") == 0, within=90)
    found = {name: gauge("bridge_reconcile_rows_total", outcome=name) for name in OUTCOMES}
    assert min(found.values()) > 0, found
    assert found["confirmed"] == found["missing"] + found["different"] + found["gone"]
    assert gauge("bridge_reconcile_left") == 0
    organizations = {row["organization_id"] for row in platform.rows("conversations")}
    verified = verified_until(gauge, organizations)
    are_gone(views, removed)
    last = platform.rows("messages")[-1]["id"]
    platform.remove("messages", last)
    eventually(lambda: gauge("bridge_reconcile_rows_total", outcome="deleted") > found["gone"], within=90)
    are_gone(views, [f"messages/{last}"])
    # They stand at the end of a run, and rise with each.
    eventually(lambda: all(at > verified[key] for key, at in verified_until(gauge, organizations).items()), within=90)


def verified_until(gauge: Callable[..., float], organizations: set[str]) -> dict[tuple[str, str], float]:
    """Return the moment up to which nothing is missing, of each table and organization."""
    assert len(organizations) == 2
    name = "bridge_completeness_verified_until_seconds"
    moments = {
        (entity, own): gauge(name, entity=entity, organization=own) for entity in ENTITIES for own in organizations
    }
    now = time.time()
    assert now - 3600 < min(moments.values()) <= max(moments.values()) < now - SETTLE_S
    return moments


@contextmanager
def reconciling(contract, bridge_url: str, platform_url: str, directory: Path) -> Iterator[Callable[..., float]]:
    """Run `bridge reconcile --every` meanwhile; yield what adds up the values of one of its metrics."""
    variables = environment(
        contract,
        directory,
        OPENBSP_URL=platform_url,
        RECONCILE_BRIDGE_URL=bridge_url,
        RECONCILE_METRICS_PORT="0",
        RECONCILE_DELETE_SHARE="1",
    )
    log = directory / "every.log"
    with log.open("wb") as file:
        process = subprocess.Popen([BRIDGE, "reconcile", "--every", "5s"], env=variables, stdout=file, stderr=file)
    try:
        port = eventually(lambda: re.search(r'"port":(\d+)', log.read_text("utf-8")), within=90)[1]

        def gauge(name: str, **labels: str) -> float:
            text = shown(f"http://127.0.0.1:{port}/metrics")
            samples = (sample for family in text_string_to_metric_families(text) for sample in family.samples)
            return sum(each.value for each in samples if each.name == name and labels.items() <= each.labels.items())

        yield gauge
        process.terminate()
        assert process.wait(120) == 0
    finally:
        process.kill()
        process.wait()
        print(log.read_text("utf-8")[-4000:])
    assert "Traceback" not in log.read_text("utf-8")


def run(contract, bridge_url: str, platform_url: str, directory: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    return_code, out = bridge_command(
        contract,
        directory,
        "reconcile",
        "--json",
        *arguments,
        OPENBSP_URL=platform_url,
        RECONCILE_BRIDGE_URL=bridge_url,
    )
    return return_code, json.loads(out.splitlines()[-1])


def bridge_command(contract, directory: Path, *arguments: str, **variables: str) -> tuple[int, str]:
    """Run a command of `bridge`; return its exit code and what it printed."""
    key = directory / "audit.key"
    if not key.exists():
        made = subprocess.run(
            [BRIDGE, "audit", "key", str(key)], capture_output=True, text=True, timeout=60, check=False
        )
        assert (made.returncode, made.stdout.split()[:2]) == (0, ["public", "key"]), made.stderr
    done = subprocess.run(
        [BRIDGE, *arguments],
        env=environment(contract, directory, **variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert "the-key-of" not in done.stdout + done.stderr
    print(done.stdout[-2000:], done.stderr[-2000:])
    return done.returncode, done.stdout


def environment(contract, directory: Path, **variables: str) -> dict[str, str]:
    """Return what a command of `bridge` needs to know here."""
    return {
        **clean_environment(),
        **contract.environment,
        "OPENBSP_API_KEY": "the-key-of-the-organization",
        "RECONCILE_SIGNING_KEY_FILE": str(directory / "audit.key"),
        "RECONCILE_BRIDGE_TOKEN": TOKEN,
        "RECONCILE_DIR": str(directory / "reconcile"),
        "RECONCILE_REQUESTS_PER_S": "200",
        "RECONCILE_PAGE_ROWS": "50",
        **variables,
    }


def agree(contract, platform: Postgrest) -> None:
    """Compare what a stock consumer sees in the state topics with the sender's rows."""
    reader = AvroReader(contract.registry.url)
    names = {row["id"]: row["name"] for row in platform.rows("contacts")}
    addresses = {row["address"]: row for row in platform.rows("contacts_addresses")}
    for table, topic in zip(TABLES, ("message-state", "conversation-state"), strict=True):
        records = newest_by_key(read_all(contract.kafka.bootstrap_servers, contract.topic(topic)))
        states = {key: reader.value(record) for key, record in records.items() if record.value() is not None}
        rows = {row["id"]: row for row in platform.rows(table)}
        assert states.keys() == rows.keys()
        for id_, row in rows.items():
            state = states[id_]
            agrees(state, row, ENTITIES[table].columns)
            if table == "conversations":
                assert state["known"]
                address = addresses[row["contact_address"]]
                name = names.get(address["contact_id"], address["extra"]["name"])
                assert state["contact"] == {"id": address["contact_id"], "name": name, "address": address["address"]}
                assert state["message_count"] == sum(
                    message["conversation_id"] == id_ for message in platform.rows("messages")
                )


def agrees(state: Mapping[str, Any], row: Mapping[str, Any], typed: Mapping[str, Kind]) -> None:
    """Compare every column: in its field, or as JSON text in `extra`, or named in `nulls`."""
    fields: dict[str, Any] = {}
    others: dict[str, Any] = {}
    for column, value in row.items():
        if column not in typed:
            others |= {} if value is None else {column: value}
        elif typed[column] is Kind.INSTANT:
            fields[column] = None if value is None else datetime.fromisoformat(value)
        elif typed[column] is Kind.STATUS:
            fields[column] = {key: datetime.fromisoformat(at) for key, at in value.items()}
        else:
            fields[column] = value
    found = {column: state[column] for column in fields}
    if "content" in found:
        found["content"] = json.loads(found["content"])
    assert found == fields, row["id"]
    assert {column: json.loads(text) for column, text in state["extra"].items()} == others, row["id"]
    assert set(state["nulls"]) == {column for column, value in row.items() if value is None}, row["id"]
