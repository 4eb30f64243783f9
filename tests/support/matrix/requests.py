"""Requests of many others beside the load, and more of them than the bridge has room for."""

import codecs
import contextlib
import gzip
import http.client
import itertools
import json
import resource
import select
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from support.bridge_process import TOKEN
from support.consume import headers_of, read_all
from support.delivery_world import CONNECTIONS, MEMORY_MIB, Envelope, World, events_of
from support.join_cases import at, conversation, inserted
from support.largest_mib import largest_mib
from support.load import Attempt, Load
from support.wait import eventually


def no_descriptor_is_left(world: World, since: int) -> str:
    (worker,) = world.bridge.workers
    soft, hard = resource.prlimit(worker, resource.RLIMIT_NOFILE)
    in_use = len(list(Path(f"/proc/{worker}/fd").iterdir()))
    resource.prlimit(worker, resource.RLIMIT_NOFILE, (in_use, hard))
    with contextlib.ExitStack() as clients:
        try:
            for _ in range(20):
                clients.enter_context(socket.create_connection(("127.0.0.1", world.bridge.port)))
            seen = world.logged("gate.limit_reached", since)
        finally:
            resource.prlimit(worker, resource.RLIMIT_NOFILE, (soft, hard))
    return f"{seen}; {world.degraded('limits_reached', 'descriptors')}"


def many_at_once(world: World, _: int) -> str:
    event = events_of(f"{world.organization}-flood")
    with Load(world.bridge.url, TOKEN, per_second=2_000, event=event) as flood:
        eventually(lambda: len(flood.attempts) > 1_000, within=60)
    assert flood.outcomes.keys() <= {"published", "spooled"}
    # They count as its own.
    world.load.attempts.extend(flood.attempts)
    return f"nothing: {len(flood.attempts)} answered, the slowest after {flood.slowest:.1f} s"


def more_bytes_than_memory(world: World, since: int) -> str:
    """Send 80 bodies of 1 MiB, mostly blanks, at once, with 16 MiB for them, and look how large the process becomes."""
    del since
    event, padding = events_of(world.organization + "-large"), " " * (1 << 20)
    (worker,) = world.bridge.workers
    before = largest_mib(worker)

    def post(envelope: Envelope) -> None:
        world.post(envelope, f"{json.dumps(envelope)}{padding}".encode())

    with ThreadPoolExecutor(80) as senders:
        sent = [senders.submit(post, event(number)) for number in range(80)]
        seen = world.degraded("limits_reached", "memory")
        for one in sent:
            one.result()
    grown = largest_mib(worker) - before
    assert grown < MEMORY_MIB + 64
    return f"{seen}; the process grew by {grown} MiB"


def more_connections_than_may_be(world: World, _: int) -> str:
    """Open them and send nothing: they make room for those who have something to send."""
    with contextlib.ExitStack() as silent:
        for _number in range(CONNECTIONS + 50):
            silent.enter_context(socket.create_connection(("127.0.0.1", world.bridge.port)))
        seen = world.degraded("limits_reached", "connections")
        world.some_more()
    return seen


def requests_in_other_forms(world: World, _: int) -> str:
    """Post events as other clients, proxies and hands would write them, each in one of the forms."""
    event = events_of(f"{world.organization}-form")
    for number, (path, headers, form, ends) in zip(range(60), itertools.cycle(FORMS)):
        envelope = event(number)
        client = http.client.HTTPConnection("127.0.0.1", world.bridge.port, timeout=5)
        with contextlib.closing(client):
            began = time.monotonic()
            content = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"} | headers
            client.request("POST", path, form(json.dumps(envelope).encode()), content)
            if ends:
                client.sock.shutdown(socket.SHUT_WR)
            answer = client.getresponse()
            attempt = Attempt(envelope["data"]["id"], time.monotonic() - began, began, answer.status)
            attempt.answer, attempt.sent = json.loads(answer.read()), envelope
            world.load.attempts.append(attempt)
            assert answer.status == 202, (path, headers, attempt.answer)
    return "nothing: they are taken"


#: Path, headers, what is done to the body, and whether the client ends its side after it.
FORMS: list[tuple[str, dict[str, str], Callable[[bytes], bytes], bool]] = [
    ("/webhooks/", {}, bytes, False),
    ("/webhooks", {"Content-Encoding": "gzip"}, gzip.compress, False),
    ("/webhooks", {}, lambda body: codecs.BOM_UTF8 + body, False),
    ("/webhooks", {"Content-Type": "application/json; profile=a; charset=UTF-8;"}, bytes, False),
    (
        "/webhooks",
        # As Java's client sends it by default.
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABk"},
        bytes,
        False,
    ),
    ("/webhooks", {"Connection": "close"}, bytes, True),
]


def wrong_path(world: World, since: int) -> str:
    """Post to it, which loses the event: the operator can see that."""
    (before,) = [world.metric(world.bridge.url, "bridge_misdirected_total")]
    answer = httpx.post(f"{world.bridge.url}/webhook", json={}, timeout=5, trust_env=False)
    assert (answer.status_code, answer.json()["reason"]) == (404, "not_found")
    eventually(lambda: world.metric(world.bridge.url, "bridge_misdirected_total") == before + 1)
    eventually(lambda: '"detail":"POST /webhook: ' in world.log[since:])
    return "404 not_found, a request line with /webhook, bridge_misdirected_total"


def what_is_no_request(world: World, since: int) -> str:
    """Connect by TLS, which loses the event: the operator can see that."""
    name, reason = "bridge_unreadable_requests_total", "malformed_request"
    before = world.metric(world.bridge.url, name, reason=reason)
    with pytest.raises(httpx.ConnectError, match="SSL"):
        httpx.post(f"https://127.0.0.1:{world.bridge.port}/webhooks", json={}, timeout=5, trust_env=False)
    eventually(lambda: world.metric(world.bridge.url, name, reason=reason) == before + 1)
    eventually(lambda: "refused what is no request: a TLS handshake" in world.log[since:])
    return f"no answer that TLS can read, {world.logged('http.refused', since)}, {name}"


def requests_that_are_no_events(world: World, since: int) -> str:
    """Each is answered as it must be, and what says why is in the topic of dead letters, if it was read."""
    del since
    outcomes: set[str] = set()
    letters: set[str] = set()
    with httpx.Client(base_url=world.bridge.url, timeout=5, trust_env=False, headers=AUTHORIZED) as client:
        for (status, reason), request in NO_EVENTS:
            answer = client.request(**{"method": "POST", "url": "/webhooks"} | request)
            said = answer.json()
            assert (answer.status_code, said["reason"]) == (status, reason), said
            outcomes.add(f"{status} {reason}")
            letters |= {said["event_id"]} if "event_id" in said else set()
    eventually(lambda: world.bridge.spooled == 0, within=60)
    topic = f"{world.bridge.prefix}dead-letters"
    assert letters <= {headers_of(letter)["ce_id"] for letter in read_all(world.bridge.kafka, topic)}
    return f"{', '.join(sorted(outcomes))}; {len(letters)} dead letters"


AUTHORIZED = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}


def _row(**columns: Any) -> bytes:
    return json.dumps({"entity": "messages", "action": "insert", "data": columns}).encode()


_MANY = {f"x{number}": at(3) for number in range(32_769)}
#: How each is answered, and what is sent.
NO_EVENTS: list[tuple[tuple[int, str], dict[str, Any]]] = [
    ((422, "invalid_event"), {"content": _row(id="m", **_MANY)}),
    ((422, "invalid_event"), {"content": _row(id="m", status=_MANY)}),
    ((422, "invalid_event"), {"content": _row(content={"type": "text"})}),
    ((422, "unsupported_entity"), {"content": _row(id="m").replace(b"messages", b"invoices")}),
    ((400, "malformed_json"), {"content": _row(id="m")[:-1]}),
    ((400, "malformed_json"), {"content": b"[" * 100_000}),
    ((400, "malformed_json"), {"content": b"no gzip", "headers": {"Content-Encoding": "gzip"}}),
    ((413, "too_large"), {"content": _row(id="m", content="x" * (4 << 20))}),
    ((415, "unsupported_media_type"), {"content": _row(id="m"), "headers": {"Content-Type": "text/plain"}}),
    ((415, "unsupported_media_type"), {"content": _row(id="m"), "headers": {"Content-Encoding": "br"}}),
    ((401, "unauthorized"), {"content": _row(id="m"), "headers": {"Authorization": "Bearer nobody's"}}),
    ((405, "method_not_allowed"), {"method": "PUT", "content": _row(id="m")}),
    ((404, "not_found"), {"url": "/webhooks/messages", "content": _row(id="m")}),
]


def ids_that_are_long(world: World, since: int) -> str:
    """Those of messages that have one external id, and one of more than 64 KiB, which is a dead letter of the join."""
    del since
    own = f"{world.organization}-long"
    row = conversation(f"{own}-c", "insert", organization_id=own, name="n" * 100_000, service="whatsapp")
    assert world.post(row).status == 202
    for number in range(20):
        sent = inserted(f"{own}-{number:04}".ljust(1_000, "x"), f"{own}-c", "outgoing", number)
        sent["data"] |= {"organization_id": own, "external_id": "e" * 1_000, "name": "n" * 10_000}
        assert world.post(sent).status == 202
    (url,) = world.fleet.urls
    before = world.metric(url, "streams_dead_letters_total", reason="too_large")
    assert world.posted(inserted("x" * 65_537, f"{own}-c", "outgoing", 1)).status == 202
    return world.counted("streams_dead_letters_total", before + 1, reason="too_large")


def conversation_whose_row_comes_last(world: World, since: int) -> str:
    """After 3,000 messages of one time."""
    del since
    own = f"{world.organization}-last"
    numbers = itertools.count()

    def event(_: int) -> Envelope:
        number = next(numbers)
        row = inserted(f"{own}-{number}", f"{own}-c", "outgoing" if number % 2 else "incoming", 5)
        return {**row, "data": row["data"] | {"organization_id": own}}

    with Load(world.bridge.url, TOKEN, per_second=2_000, event=event, at_once=200) as flood:
        eventually(lambda: len(flood.attempts) > 3_000, within=60)
    world.load.attempts.extend(flood.attempts)
    row = conversation(f"{own}-c", "insert", organization_id=own, name="late", service="whatsapp", updated_at=at(9))
    assert world.post(row).status == 202
    return f"nothing: {len(flood.attempts)} messages are joined"


def request_that_waits_too_long_for_memory(world: World, since: int) -> str:
    """Others have said that they will send more than there is room for, and send nothing."""
    del since
    head = (
        f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nAuthorization: Bearer {TOKEN}"
        f"\r\nContent-Length: {1 << 20}\r\n\r\n"
    ).encode()
    with contextlib.ExitStack() as silent:
        clients = [silent.enter_context(socket.create_connection(("127.0.0.1", world.bridge.port))) for _ in range(8)]
        for client in clients:
            client.sendall(head)
        # The first to be answered is one for which no memory came; the others' connections end at once.
        answered, _, _ = select.select(clients, [], [], 60)
        answered[0].settimeout(60)
        said = b""
        # The body may come after the head.
        while b'"overloaded"' not in said and (more := answered[0].recv(10_000)):
            said += more
        assert b'"overloaded"' in said, said
    assert world.metric(world.bridge.url, "bridge_webhooks_total", outcome="overloaded")
    return 'bridge_webhooks_total{outcome="overloaded"}'


def flood_of_one_organization(world: World, since: int) -> str:
    """Show what another one sends meanwhile within seconds."""
    del since
    flooding = events_of(f"{world.organization}-flood")
    (url,) = world.fleet.urls
    with Load(world.bridge.url, TOKEN, per_second=10_000, event=flooding, at_once=200) as flood:
        eventually(lambda: len(flood.attempts) > 200, within=60)
        before = {attempt.key for attempt in world.load.attempts}
        key = eventually(lambda: next((a.key for a in world.load.attempts[-1:] if a.key not in before), ""), within=60)
        began = time.monotonic()
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=url, headers=headers, timeout=10, trust_env=False) as views:
            kinds = ("messages", "conversations")
            eventually(lambda: any(views.get(f"/{kind}/{key}").status_code == 200 for kind in kinds), within=60)
        waited = time.monotonic() - began
        eventually(lambda: len(flood.attempts) > 1_500, within=60)
    world.load.attempts.extend(flood.attempts)
    return f"nothing: another organization's event was shown after {waited:.1f} s"
