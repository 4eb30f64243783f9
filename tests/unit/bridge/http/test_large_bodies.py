"""A body that is too large: what its beginning and its end say is kept, and nothing else of it."""

import gzip
import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import bridge.http.ingress
from avro import writers
from avro.catalogue import MAX_BODY_BYTES, MAX_MEMBERS
from avro.codec import Decoder
from avro.schemas import latest
from bridge.delivery.items import Event
from bridge.http.body_ends import INSPECTED_BYTES, Metadata, read_beginning, read_end
from bridge.http.events import RefusedError, read_event
from bridge.settings import BridgeSettings
from openbsp_testkit.rows import Organization
from support.fake_kafka import IDS, TIMED_OUT, FakeKafka
from support.ingress import BOUND_TOKEN, ORGANIZATION, TOKEN, RunningIngress, running_ingress
from support.wait import eventually

SECRET = "what-was-in-it"
LIMIT = 4096


def envelope(size: int = 10_000, entity: str = "messages", **columns: Any) -> bytes:
    """Return a body as OpenBSP writes it: `data` first, its short columns first."""
    data = {"id": "m1", "organization_id": ORGANIZATION, **columns, "content": {"text": SECRET * (size // len(SECRET))}}
    return json.dumps({"data": data, "action": "insert", "entity": entity}).encode()


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path, max_body_bytes=LIMIT) as running:
        yield running


@pytest.fixture
def _patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Wait for the end of a body on however slow a machine."""
    monkeypatch.setattr(bridge.http.ingress, "_ENDS_S", 60.0)


def letter_of(ingress: RunningIngress) -> dict[str, Any]:
    (record,) = ingress.kafka.topic("dead-letters")
    decoder = Decoder("DeadLetter")
    decoder.learn(IDS["DeadLetter"], latest("DeadLetter").text)
    assert SECRET.encode() not in record.value
    letter = decoder.decode(record.value)
    assert record.key == (None if letter["key"] is None else letter["key"].encode())
    return letter


def told(letter: dict[str, Any]) -> tuple[Any, ...]:
    assert (letter["reason"], letter["payload"]) == ("too_large", None)
    return letter["entity"], letter["action"], letter["key"], letter["organization_id"], letter["payload_size"]


def refused(answer: Any, letter: dict[str, Any]) -> None:
    assert (answer.status_code, answer.json()["reason"]) == (413, "too_large")
    assert answer.json()["event_id"] == letter["event_id"]
    assert answer.headers["connection"] == "close"


def test_of_a_body_that_is_too_large_once_unpacked(ingress: RunningIngress):
    """The ids are looked for in what was packed, of which no more is unpacked than the limit and a byte."""
    answer = ingress.post(gzip.compress(envelope()), **{"Content-Encoding": "gzip"})
    letter = letter_of(ingress)
    refused(answer, letter)
    assert told(letter) == (None, None, "m1", ORGANIZATION, LIMIT + 1)


@pytest.mark.usefixtures("_patient")
def test_of_a_body_whose_length_says_that_it_is_too_large(ingress: RunningIngress):
    body = envelope()
    answer = ingress.post(body)
    letter = letter_of(ingress)
    refused(answer, letter)
    assert told(letter) == ("messages", "insert", "m1", ORGANIZATION, len(body))
    assert ingress.line_of(letter["event_id"])["outcome"] == "too_large"
    assert ingress.metric("bridge_dead_letters_total", reason="too_large") == 1


@pytest.mark.usefixtures("_patient")
def test_of_a_body_that_turns_out_to_be_too_large(ingress: RunningIngress):
    body = envelope(100_000)
    answer = ingress.client.post(
        f"{ingress.url}/webhooks",
        content=iter([body[at : at + 1000] for at in range(0, len(body), 1000)]),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
    )
    letter = letter_of(ingress)
    refused(answer, letter)
    *rest, size = told(letter)
    assert rest == ["messages", "insert", "m1", ORGANIZATION]
    assert LIMIT < size <= len(body)


@pytest.mark.usefixtures("_patient")
@pytest.mark.parametrize(("token", "organization"), [(TOKEN, None), (BOUND_TOKEN, ORGANIZATION)])
@pytest.mark.parametrize("streamed", [False, True])
def test_of_a_row_as_openbsp_writes_it_its_token_tells_whose_it_is(
    ingress: RunningIngress, token: str, organization: str | None, *, streamed: bool
):
    """PostgreSQL orders keys by their length: `content` comes before `organization_id`, and `entity` at the end."""
    chat = Organization(seed=1, id=ORGANIZATION).conversation()
    message = chat.outgoing(content={"type": "data", "kind": "tool", "data": SECRET * (LIMIT // 10)})
    body = message.insert.body
    answer = ingress.client.post(
        f"{ingress.url}/webhooks",
        content=iter([body]) if streamed else body,
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {token}"},
    )
    letter = letter_of(ingress)
    refused(answer, letter)
    assert told(letter) == ("messages", "insert", message.id, organization, len(body))
    (record,) = ingress.kafka.topic("dead-letters")
    assert writers.organizations_of(record.headers) == (None if organization is None else {organization})


def announced(ingress: RunningIngress, length: int, token: str = TOKEN) -> socket.socket:
    client = socket.create_connection(ingress.service_address)
    client.settimeout(10)
    client.sendall(
        f"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\nContent-Type: application/json\r\n"
        f"Expect: 100-continue\r\nAuthorization: Bearer {token}\r\n\r\n".encode()
    )
    return client


def test_of_a_body_that_is_announced_its_beginning_is_asked_for(ingress: RunningIngress):
    """As curl announces each body of more than a megabyte."""
    body = envelope(100_000)
    with announced(ingress, len(body)) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(body[:INSPECTED_BYTES])
        assert client.recv(1000).startswith(b"HTTP/1.1 413 ")
    assert told(letter_of(ingress)) == (None, None, "m1", ORGANIZATION, len(body))


@pytest.mark.usefixtures("_patient")
def test_of_a_body_that_is_sent_after_it_was_asked_for_its_end_is_read_too(ingress: RunningIngress):
    body = envelope(1_000_000, "conversations")
    with announced(ingress, len(body)) as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 100 ")
        client.sendall(body)
        answer = b""
        while data := client.recv(65536):
            answer += data
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert told(letter_of(ingress)) == ("conversations", "insert", "m1", ORGANIZATION, len(body))


def test_of_a_client_that_goes_in_the_middle_the_end_is_not_known(ingress: RunningIngress):
    """Where it stopped, something that looks like an envelope's end may stand within the row."""
    body = b'{"data":{"id":"m1","content":{"x":{},"entity":"conversations"}'
    with announced(ingress, 100_000) as client:
        client.sendall(body)
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    eventually(lambda: ingress.kafka.topic("dead-letters"))
    assert told(letter_of(ingress)) == (None, None, "m1", None, 100_000)


def test_a_body_whose_beginning_does_not_come_is_answered_all_the_same(ingress: RunningIngress):
    with announced(ingress, 3_000_000) as client:
        answer = client.recv(1000)
        while b"HTTP/1.1 413 " not in answer:
            more = client.recv(1000)
            assert more
            answer += more
    assert told(letter_of(ingress)) == (None, None, None, None, 3_000_000)


def test_nobody_without_a_token_is_asked_for_a_body_or_leaves_a_trace(ingress: RunningIngress):
    with announced(ingress, 3_000_000, "a-wrong-token-0123456789") as client:
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")
    assert ingress.kafka.log == []


def test_of_another_entity_only_its_name_is_kept(ingress: RunningIngress):
    body = json.dumps(
        {"entity": "organizations_addresses", "action": "insert", "data": {"id": SECRET, "x": "y" * LIMIT}}
    )
    ingress.post(body.encode())
    assert told(letter_of(ingress)) == ("organizations_addresses", "insert", None, None, len(body))


def test_a_dead_letter_that_cannot_be_kept_is_not_told_as_kept(tmp_path: Path):
    kafka = FakeKafka()
    kafka.verdict = lambda _: TIMED_OUT
    with running_ingress(tmp_path, kafka=kafka, max_body_bytes=200_000, spool_max_bytes=1024 * 1024) as ingress:
        while ingress.post(envelope(150_000)).status_code == 202:
            pass
        while (answer := ingress.post(envelope(201_000))).status_code == 413:
            pass  # a letter is smaller than the event that found no room
        assert (answer.status_code, answer.json()["reason"]) == (503, "not_stored")
        assert answer.headers["connection"] == "close"


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"data":{"id":"1","organization_id":"o","content":"...', Metadata(None, None, "1", "o")),
        (b'{"entity":"messages","action":"update","data":{"id":"1"', Metadata("messages", "update", "1")),
        (
            b' { "data" : { "content" : {"id": "no"} , "id" : "1" } , "entity" : "messages"',
            Metadata("messages", None, "1"),
        ),
        (b'{"data":{"id":"1"},"entity":"messages","action":"insert"}', Metadata("messages", "insert", "1")),
        (b'{"data":{},"entity":"messages"}', Metadata("messages")),
        (b'{"data":[{"id":"no"}],"id":"no","organization_id":"no","entity":"messages"', Metadata("messages")),
        (b'{"data":{"id":7,"organization_id":null,"x":1', Metadata()),
        (b'{"data":{"id":"cut o', Metadata()),
        (b'{"data":{"id":"\\u00e9\xc3\xa9","x":"\xc3', Metadata(None, None, "\u00e9\u00e9")),
        (b'{"data":{"id":"\\ud800","organization_id":"\\ud83d\\ude00"', Metadata(None, None, None, "\U0001f600")),
        (b'{"data":{"content":"' + b"x" * INSPECTED_BYTES + b'","id":"1"}}', Metadata()),
        (b'{"data":{"x":' + b"[" * 5000, Metadata()),
        (b"{" * 5000, Metadata()),
        (b'{"data":' * 5000, Metadata()),
        (b"", Metadata()),
        (b" ", Metadata()),
        (b"\xff\xfe{}", Metadata()),
        (b"[1]", Metadata()),
        (b'{"entity"', Metadata()),
        (b'{"entity":"messages",}', Metadata("messages")),
    ],
)
def test_the_beginning_tells_what_it_can(body: bytes, found: Metadata):
    assert read_beginning(body) == found


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"data":{"id":"1"},"action":"insert","entity":"messages"}', Metadata("messages", "insert")),
        (b'..."}} , "entity" : "messages"\r\n}\n', Metadata("messages")),
        (b'\xff\xa9"}},"action":"insert","entity":"\xc3\xa9"}', Metadata("\u00e9", "insert")),
        (b'{"data":{"content":"}, \\"entity\\": \\"messages\\"}', Metadata()),
        (b'{"data":{"content":"}, \\"entity\\": \\"messages\\"}"}}', Metadata()),
        (b'{"entity":"messages","data":{"x":{},"entity":"no"}}', Metadata()),
        (b'{"data":{},"entity":"messages","other":1}', Metadata()),
        (b'{"data":{},"entity":"a","entity":"b"}', Metadata("b")),
        (b'{"data":{},"entity":"' + b"x" * INSPECTED_BYTES + b'"}', Metadata()),
        (b"", Metadata()),
        (b"}}}}", Metadata()),
    ],
)
def test_the_end_tells_what_it_can(body: bytes, found: Metadata):
    assert read_end(body) == found


@given(st.binary(max_size=2000) | st.text('{}[]":,\\ action entity0', max_size=200).map(str.encode))
def test_any_end_is_read(body: bytes):
    assert read_end(body).id is None


@given(st.binary(max_size=2000) | st.text('{}[]":,\\ data id entity0', max_size=200).map(str.encode))
def test_any_beginning_is_read(body: bytes):
    assert all(value is None or type(value) is str for value in read_beginning(body))


@given(st.integers(0, INSPECTED_BYTES))
def test_a_beginning_that_is_cut_off_anywhere_never_tells_half_of_something(at: int):
    found = read_beginning(envelope()[:at])
    assert set(found) <= {None, "m1", ORGANIZATION}


def test_bodies_of_four_mebibytes_are_taken_unless_decided_otherwise(tmp_path: Path):
    assert BridgeSettings.model_fields["max_body_bytes"].default == MAX_BODY_BYTES == 4 * 1024 * 1024
    body = envelope(MAX_BODY_BYTES - 1000)
    assert MAX_BODY_BYTES - 2000 < len(body) < MAX_BODY_BYTES
    with running_ingress(tmp_path, deadline_s=4) as ingress:
        assert ingress.post(body).json()["disposition"] == "published"


@pytest.mark.parametrize(
    ("row", "others"),
    [
        (lambda names: dict.fromkeys(names, 0), 1),
        (lambda names: {"status": dict.fromkeys(names, 0)}, 2),
        (lambda names: {"status": {"errors": names}}, 3),
    ],
    ids=["columns", "keys of status", "errors"],
)
def test_a_row_of_more_columns_and_keys_than_a_row_may_have_is_no_event(
    row: Callable[[list[str]], dict[str, Any]], others: int
):
    """A dead letter keeps it. Few bytes can hold so many that whoever reads them is busy for seconds."""

    def read(members: int, action: str = "update") -> Event:
        columns = row([f"x{number}" for number in range(members - others)])
        body = json.dumps({"entity": "messages", "action": action, "data": {"id": "m", **columns}}).encode()
        return read_event(body, 1, None, 100)

    assert read(MAX_MEMBERS).id == "m"
    with pytest.raises(RefusedError, match="columns, status keys and errors") as refused:
        read(MAX_MEMBERS + 1)
    assert (refused.value.reason.code, refused.value.key, refused.value.keep) == ("invalid_event", "m", True)
    print(f"\nfigure: {MAX_MEMBERS + 1} columns and keys: {refused.value}; kept as a dead letter: {refused.value.keep}")
    assert read(MAX_MEMBERS + 1, "delete").row == {"id": "m"}
