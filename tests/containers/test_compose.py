"""`docker compose up --wait` with the image of this checkout ends ready, does what it should, and survives a death."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.consume import AvroReader, newest_by_key, read_all
from support.docker.compose import Compose
from support.docker.image import ROOT
from support.documented import DocumentedEvents
from support.wait import eventually

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

HEALTHY = ("running", "healthy", 0)
WORKERS = (1, 2)


@pytest.fixture(scope="module")
def project(own_image: str) -> Iterator[Compose]:
    """Bring the project up once for all tests here."""
    project = Compose.of_image(own_image)
    try:
        project.run("up", "--wait", "--wait-timeout", "240", "--no-build", "--pull", "never", "--quiet-pull")
        yield project
    finally:
        # Shown with a test that failed.
        print(project.run("logs", "--no-color", "bridge", "streams-1", "streams-2", "init"))
        project.run("--profile", "reconcile", "down", "--volumes", "--timeout", "15")


def send(project: Compose, bodies: list[bytes]) -> None:
    for body in bodies:
        answer = project.post(body)
        assert answer.status_code == 202, answer.text


def expect_documented(project: Compose, chats: list[DocumentedEvents], workers: tuple[int, ...]) -> None:
    """Wait until the views of each worker, whichever owns what, and the topics have what the five events add up to."""
    reader = AvroReader(project.registry)

    def look() -> bool:
        for events in chats:
            for worker in workers:
                answer = project.view(worker, f"/conversations/{events.conversation}")
                assert answer is not None, f"worker {worker} does not answer"
                assert answer.status_code == 200, f"worker {worker}: {answer.text}"
                assert events.contradictions(answer.json()) == {}
        states = newest_by_key(read_all(project.kafka, "openbsp.conversation-state"))
        changes = [reader.value(message) for message in read_all(project.kafka, "openbsp.status-changes")]
        for events in chats:
            # Trap: a view has a state a moment before its topic does.
            assert events.conversation in states
            assert events.contradictions(reader.value(states[events.conversation])) == {}
            told = [change for change in changes if change["conversation_id"] == events.conversation]
            assert {(change["message_id"], change["status"]) for change in told} == events.status_changes
            assert len({change["id"] for change in told}) == len(events.status_changes)
        return True

    eventually(look, within=90)


def test_everything_is_healthy_when_up_returns(project):
    states = project.states()
    assert states.pop("init") == ("exited", "", 0)
    assert states == dict.fromkeys(("kafka", "schema-registry", "bridge", "streams-1", "streams-2"), HEALTHY)


def test_the_five_payloads_give_the_documented_state(project):
    events = DocumentedEvents()
    send(project, events.bodies)
    expect_documented(project, [events], WORKERS)


def test_both_workers_have_partitions(project):
    """Each is the owner of some conversations: neither is there for nothing."""

    def owned(worker: int) -> int:
        answer = project.view(worker, "/metrics")
        assert answer is not None
        (line,) = [line for line in answer.text.splitlines() if line.startswith("streams_partitions_owned ")]
        return int(float(line.split()[1]))

    eventually(lambda: sum(map(owned, WORKERS)) == 4 and min(map(owned, WORKERS)) > 0, within=60)


def test_a_killed_worker_leaves_views_and_topics_right(project):
    """With half of the events before its death and half after it; and again when it is back."""
    chats = [DocumentedEvents() for _ in range(12)]
    send(project, [body for events in chats for body in events.bodies[:3]])
    project.run("kill", "--signal", "SIGKILL", "streams-1")
    send(project, [body for events in chats for body in events.bodies[3:]])
    expect_documented(project, chats, (2,))
    project.run("up", "--wait", "--wait-timeout", "120", "--no-build", "--no-recreate", "streams-1")
    assert project.states()["streams-1"] == HEALTHY
    more = [DocumentedEvents() for _ in range(4)]
    send(project, [body for events in more for body in events.bodies])
    expect_documented(project, [*chats, *more], WORKERS)


def test_what_the_profile_adds_is_configured_with_what_is_there(project):
    """Their images cannot be had everywhere, so nothing more is tried here; test_deploy_files looks into the files."""
    services = json.loads(project.run("--profile", "observe", "config", "--format", "json"))["services"]
    added = services.keys() - project.states().keys()
    assert added == {"kafka-ui", "prometheus", "grafana", "jaeger"}
    # Jaeger's image has neither a shell nor a program that asks for its health.
    for name in added - {"jaeger"}:
        assert services[name]["healthcheck"]["test"]
        mounted = [volume["source"] for volume in services[name].get("volumes", []) if volume["type"] == "bind"]
        assert all(any(Path(source).rglob("*.*")) for source in mounted), mounted


#: The stand-in of OpenBSP's REST API, in a container beside the others. It has a message that no webhook told of.
PLATFORM = """
import json, sys
from openbsp_testkit.postgrest import Postgrest
tables = ("messages", "conversations", "contacts", "contacts_addresses")
platform = Postgrest(tables, anon_key="anon", address=("0.0.0.0", 8000))
for table, row in json.loads(sys.argv[1]):
    platform.put(table, **row)
platform.serve_forever()
"""


def test_the_profile_reconcile_brings_what_no_webhook_told(project):
    """With the file of the example, and a key for suppressed contacts that the bridge gets from .env."""
    at = "2026-05-06T03:39:23.123456+00:00"
    row = {"organization_id": "organization-1", "service": "whatsapp", "contact_address": "+34600000000"}
    row |= {"organization_address": "1", "created_at": at, "updated_at": at}
    conversation = {**row, "id": "conversation-missing", "name": "Never told"}
    message = {**row, "id": "message-missing", "conversation_id": conversation["id"], "direction": "incoming"}
    message |= {"timestamp": at, "status": {"delivered": at}, "content": {"type": "text", "kind": "text", "text": "?"}}
    rows = json.dumps([["conversations", conversation], ["messages", message]])
    settings = ROOT / ".env.reconcile"
    assert not settings.exists(), f"{settings} is somebody's own"
    example = (ROOT / ".env.reconcile.example").read_text("utf-8")
    changes = {
        "https://your-project.supabase.co": "http://openbsp:8000",
        "the-public-key-of-the-project": "anon",
        "change-this-token-first": project.environment["BRIDGE_TOKENS"].partition("=")[2],
    }
    for old, new in changes.items():
        assert old in example
        example = example.replace(old, new)
    stand_in = f"{project.name}-openbsp"
    command = ["docker", "run", "--detach", "--rm", "--name", stand_in, "--network", f"{project.name}_default"]
    command += ["--network-alias", "openbsp", "--volume", f"{ROOT / 'testkit'}:/testkit:ro", "--env"]
    command += ["PYTHONPATH=/testkit", "--entrypoint", "python", project.environment["BRIDGE_IMAGE"], "-c", PLATFORM]
    try:
        settings.write_text(example, "utf-8")
        subprocess.run([*command, rows], check=True, capture_output=True, timeout=60)
        project.run("--profile", "reconcile", "up", "--detach", "--no-build", "--pull", "never", "reconcile")

        def shown() -> bool:
            answer = project.view(1, f"/conversations/{conversation['id']}")
            assert answer is not None
            assert answer.status_code == 200, project.run("logs", "--no-color", "--tail", "5", "reconcile")
            return answer.json()["name"] == "Never told" and answer.json()["message_count"] == 1

        eventually(shown, within=120, every=1.0)
        assert project.states()["reconcile"][0] == "running"
    finally:
        settings.unlink(missing_ok=True)
        subprocess.run(["docker", "rm", "--force", stand_in], check=False, capture_output=True, timeout=60)
        project.run("--profile", "reconcile", "rm", "--stop", "--force", "--volumes", "reconcile")
    environment = project.run("exec", "-T", "bridge", "env")
    assert f"BRIDGE_SUPPRESSION_KEY={project.environment['BRIDGE_SUPPRESSION_KEY']}\n" in environment


def test_what_is_kept_outlives_the_containers(project):
    """Containers removed but not the named volumes, and up again: topics, schemas, tables are there."""
    events = DocumentedEvents()
    send(project, events.bodies[:3])
    # `down` would leave the unnamed volumes of the broker's image behind, which nobody would ever find again.
    project.run("rm", "--stop", "--force", "--volumes")
    project.run("up", "--wait", "--wait-timeout", "240", "--no-build", "--pull", "never", "--quiet-pull")
    send(project, events.bodies[3:])
    expect_documented(project, [events], WORKERS)
