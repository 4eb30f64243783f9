"""Kafka and the registry are killed, do not answer, or answer nonsense."""

import itertools
import json
import os
import shutil
import signal

import httpx

from support.consume import AvroReader, read_all
from support.delivery_world import World
from support.registry_proxy import NONSENSE
from support.wait import eventually


def kafka_that_does_not_answer(world: World, _: int) -> str:
    kafka = world.servers.pids["kafka"]
    os.kill(kafka, signal.SIGSTOP)
    try:
        seen = world.degraded("last_publish_failure", "deadline")
        world.some_more()
    finally:
        os.kill(kafka, signal.SIGCONT)
    return seen


def kafka_that_is_killed(world: World, _: int) -> str:
    world.servers.broker.kill()
    seen = world.degraded("publishing", "False")
    world.some_more()
    world.servers.broker.start(120)
    return seen


def registry_that_is_killed(world: World, since: int) -> str:
    world.servers.schema_registry.kill()
    world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
    seen = world.degraded("waiting_for", "schema_registry")
    before = world.load.count("published")
    eventually(lambda: world.load.count("published") > before + 50, within=60)
    seen = f"{seen}; {world.logged('schemas.unknown', since)}"
    world.servers.schema_registry.start(120)
    return seen


def registry_that_answers_nonsense(world: World, since: int) -> str:
    """To a bridge and a worker that start."""
    answers = itertools.cycle(NONSENSE.values())
    first = len(world.fleet.lines)
    world.between.answer = lambda _method, _path: next(answers)
    try:
        world.replaced(lambda worker: os.kill(worker, signal.SIGKILL))
        world.fleet.restart(world.worker)
        seen = f"{world.degraded('waiting_for', 'schema_registry')}; worker: {world.said('waiting: ', first)}"
        world.some_more()
    finally:
        world.between.answer = lambda _method, _path: None
    world.fleet.wait_ready(90)
    del since
    return seen


def registry_that_lost_its_data(world: World, since: int) -> str:
    """Others register their schemas first; nothing is published under their ids, then with the new ones."""
    first, registry = len(world.fleet.lines), world.servers.schema_registry
    registry.stop()
    for file in (world.bridge.directory / "servers" / "registry").glob("registry.*db"):
        file.unlink()
    registry.start(120)
    others = {"type": "record", "name": "Invoice", "namespace": "billing", "fields": []}
    for number in range(40):
        schema = {"schema": json.dumps(others | {"name": f"Invoice{number}"})}
        url = f"{world.servers.registry}/subjects/billing-{number}-value/versions"
        httpx.post(url, json=schema, timeout=10, trust_env=False).raise_for_status()
    # It may have been asked before the others came, and have no ids since then of which they could be another schema.
    seen = world.degraded("waiting_for", " of MessageEvent is ")
    world.some_more()
    seen = f"{seen}; worker: {world.said('states are written with ids that it does not have', first)}"
    world.bridge.prepare()
    world.said("the schema ids in the registry have changed", first)
    world.logged("schemas.repaired", since)
    # Until then the worker has written states with ids that are another's by now, as it says.
    ends = {(place.topic, place.partition): place.offset for place in world.ends("messages", "message-state")}
    eventually(lambda: world.bridge.spooled == 0, within=60)
    world.some_more()
    reader = AvroReader(world.servers.registry)
    for topic in ("messages", "message-state"):
        name = f"{world.bridge.prefix}{topic}"
        new = [one for one in read_all(world.bridge.kafka, name) if one.offset() >= ends[name, one.partition()]]
        assert {reader.value(message)["id"] for message in new if message.value()}
    return seen


def broker_whose_disk_was_emptied(world: World, since: int) -> str:
    """Let it come back as another cluster without a topic: what was spooled, and what comes later, is kept."""
    first = len(world.fleet.lines)
    world.servers.broker.kill()
    shutil.rmtree(world.bridge.directory / "servers" / "kafka")
    eventually(lambda: world.bridge.spooled > 20, within=60)
    # What was in its topics is gone, and nobody else had it.
    world.lose(0)
    world.servers.broker.start(120)
    seen = world.degraded("waiting_for", f"{world.bridge.topic}: missing")
    world.some_more()
    world.bridge.prepare()
    eventually(lambda: world.bridge.spooled == 0, within=90)
    world.fleet.wait_ready(90)
    world.logged("topics.wrong", since)
    said = world.said('"level":"CRITICAL"', first)
    return f"{seen}; worker: {said}"
