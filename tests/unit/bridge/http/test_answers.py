"""Each row of the design's answer table, through HTTP."""

import gzip
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from uuid import UUID

import pytest

from avro import identity, jsontext, writers
from bridge.http.events import decompressed
from support.documented import DocumentedEvents
from support.fake_kafka import TIMED_OUT, FakeKafka
from support.ingress import BOUND_TOKEN, METRICS_TOKEN, ORGANIZATION, TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

SECRET = "EAAG-an-access-token"


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path_factory.mktemp("ingress"), max_body_bytes=4096, max_json_depth=20) as running:
        yield running


def dead_letters(ingress: RunningIngress, event_id: str) -> list[bytes]:
    return [
        record.value
        for record in ingress.kafka.topic("dead-letters")
        if dict(record.headers)["ce_id"].decode() == event_id
    ]


def assert_problem(answer, status: int, reason: str) -> dict:
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status
    assert problem["reason"] == reason
    assert problem["type"].endswith(reason)
    assert problem["title"]
    assert problem["detail"]
    return problem


@pytest.mark.parametrize("number", range(5))
def test_a_documented_event_gets_a_receipt_that_says_where_it_is(ingress: RunningIngress, number: int):
    body = DocumentedEvents().bodies[number]
    envelope = jsontext.decode(body)
    answer = ingress.post(body)
    assert answer.status_code == 202
    receipt = answer.json()
    record = ingress.kafka.topic(receipt["topic"])[receipt["offset"]]
    assert record.key.decode() == receipt["id"] == envelope["data"]["id"]
    assert receipt == {
        "event_id": identity.event_id(envelope["entity"], envelope["action"], jsontext.encode(envelope["data"])),
        "entity": envelope["entity"],
        "action": envelope["action"],
        "id": envelope["data"]["id"],
        "disposition": "published",
        "topic": f"test.{envelope['entity']}",
        "partition": 0,
        "offset": receipt["offset"],
    }


def test_the_same_event_has_the_same_id_however_it_is_written(ingress: RunningIngress):
    envelope = message("same", content={"b": 1, "a": [1.50, None]})
    first = ingress.post(envelope).json()
    second = ingress.post(json.dumps(envelope, indent=2, sort_keys=True).encode()).json()
    assert first["event_id"] == second["event_id"]
    assert first["offset"] != second["offset"]


def test_a_record_has_cloudevents_headers_and_the_trace_it_belongs_to(ingress: RunningIngress):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    receipt = ingress.post(message("traced", updated_at="2026-05-06T03:39:23+02:00"), traceparent=trace).json()
    headers = dict(ingress.kafka.topic("messages")[receipt["offset"]].headers)
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_id": receipt["event_id"].encode(),
        "ce_source": b"openbsp",
        "ce_type": b"openbsp.messages.insert",
        "ce_subject": b"traced",
        "ce_time": b"2026-05-06T01:39:23+00:00",
        "content-type": b"application/avro",
        "traceparent": trace.encode(),
    }


@pytest.mark.parametrize(
    "trace",
    ["", "x", "00-" + "0" * 32 + "-b7ad6b7169203331-01", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"],
)
def test_an_invalid_trace_is_not_passed_on(ingress: RunningIngress, trace: str):
    receipt = ingress.post(message("untraced"), traceparent=trace).json()
    assert "traceparent" not in dict(ingress.kafka.topic("messages")[receipt["offset"]].headers)
    ingress.post(b"{", traceparent=trace)
    assert "traceparent" not in dict(ingress.kafka.topic("dead-letters")[-1].headers)


@pytest.mark.parametrize(
    "body", [b"{", b'{"entity":"messages"}', b'{"entity":"organizations_addresses","action":"insert","data":{}}']
)
def test_a_dead_letter_has_the_trace_of_its_request(ingress: RunningIngress, body: bytes):
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    ingress.post(body, traceparent=trace)
    assert dict(ingress.kafka.topic("dead-letters")[-1].headers)["traceparent"] == trace.encode()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b'{"entity":"messages","action":"insert","data":{"id":"1","content":NaN}}',
        b'{"entity":"messages","action":"insert","data":{"id":"1","content":"\\ud800"}}',
        b'{"entity":"messages","action":"insert","data":{"id":"1","content":' + b"[" * 30 + b"]" * 30 + b"}}",
        b"[" * 2000 + b"]" * 2000,
        b"[" * 4000,
        b'{"a":' * 800,
    ],
    ids=[
        "empty",
        "truncated",
        "not UTF-8",
        "NaN",
        "lone surrogate",
        "too deep",
        "very deep",
        "deep and open",
        "deep objects",
    ],
)
def test_malformed_json(ingress: RunningIngress, body: bytes):
    problem = assert_problem(ingress.post(body), 400, "malformed_json")
    assert len(dead_letters(ingress, problem["event_id"])) == 1


def test_brackets_in_texts_do_not_count_as_nesting(ingress: RunningIngress):
    assert ingress.post(message("brackets", content={"text": "[{" * 500})).status_code == 202


@pytest.mark.parametrize(
    "authorization",
    [None, "", "Bearer", "Bearer wrong-token-0123456789", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x"],
)
def test_unauthorized(ingress: RunningIngress, authorization: str | None):
    before = ingress.kafka.attempts
    headers = {} if authorization is None else {"Authorization": authorization}
    answer = ingress.post(message(), token=None, **headers)
    assert_problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")
    assert ingress.kafka.attempts == before
    assert ingress.service.spool.events == 0


def test_the_scheme_of_a_token_is_written_as_one_likes(ingress: RunningIngress):
    assert ingress.post(message(), token=None, Authorization=f"bEARER {TOKEN}").status_code == 202


def test_an_unauthorized_body_is_not_waited_for(ingress: RunningIngress):
    """The answer comes although the body never does."""
    with socket.create_connection(ingress.service_address) as client:
        client.settimeout(5)
        client.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n"
        )
        assert client.recv(1000).startswith(b"HTTP/1.1 401 ")


def test_wrong_organization(ingress: RunningIngress):
    answer = ingress.post(message("foreign", organization_id="other", content={"text": SECRET}), token=BOUND_TOKEN)
    problem = assert_problem(answer, 403, "wrong_organization")
    (letter,) = dead_letters(ingress, problem["event_id"])
    assert SECRET.encode() not in letter
    assert b"foreign" in letter
    # The same row once more: what is made from its content would confirm to readers of dead letters what they guess.
    again = ingress.post(message("foreign", organization_id="other", content={"text": SECRET}), token=BOUND_TOKEN)
    assert again.json()["event_id"] != problem["event_id"]


def test_a_bound_token_may_send_for_its_organization(ingress: RunningIngress):
    assert ingress.post(message("own", organization_id=ORGANIZATION), token=BOUND_TOKEN).status_code == 202


@pytest.mark.parametrize("columns", [{}, {"organization_id": None}])
def test_a_bound_token_may_send_what_names_no_organization(ingress: RunningIngress, columns: dict):
    """The documented partial updates do not name it, and would be lost for ever."""
    update = message("partial", **columns) | {"action": "update"}
    assert ingress.post(update, token=BOUND_TOKEN).status_code == 202


def test_events_tell_of_which_organizations_their_writer_may_tell(tmp_path: Path):
    """Also those that waited in the spool; a token that is bound to none is trusted."""
    kafka = FakeKafka()
    kafka.verdict = lambda record: TIMED_OUT if record.key == b"spooled" else None
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        ingress.post(message("trusted", organization_id=ORGANIZATION))
        ingress.post(message("own", organization_id=ORGANIZATION), token=BOUND_TOKEN)
        ingress.post(message("partial") | {"action": "update"}, token=BOUND_TOKEN)
        ingress.post(message("spooled", organization_id=ORGANIZATION), token=BOUND_TOKEN)
        assert ingress.service.spool.events == 1
        kafka.verdict = lambda _: None
        eventually(lambda: ingress.service.spool.events == 0)
    told = {record.key: writers.organizations_of(record.headers) for record in kafka.log}
    bound = frozenset({ORGANIZATION})
    assert told == {b"trusted": None, b"own": bound, b"partial": bound, b"spooled": bound}


def test_a_request_can_tell_of_fewer_organizations_than_its_token_may(tmp_path: Path):
    """What is redriven for somebody must not become trusted by that; neither must its next dead letter."""
    kafka = FakeKafka()
    narrow = {"openbsp-organizations": ORGANIZATION}
    with running_ingress(tmp_path, kafka=kafka) as ingress:
        update = message("partial") | {"action": "update"}
        assert ingress.post(update, **narrow).status_code == 202
        assert ingress.post(message("foreign", organization_id="other"), **narrow).status_code == 403
        assert ingress.post(update, token=BOUND_TOKEN, **{"openbsp-organizations": "other"}).status_code == 403
        assert ingress.post({**message("broken"), "action": "upsert"}, token=BOUND_TOKEN).status_code == 422
    told = [(record.key, dict(record.headers)[writers.NAME]) for record in kafka.log]
    bound = ORGANIZATION.encode()
    assert told == [(b"partial", bound), (b"foreign", bound), (b"partial", b""), (b"broken", bound)]


@pytest.mark.parametrize(
    ("action", "columns"),
    [("insert", {}), ("insert", {"conversation_id": "c"}), ("update", {"conversation_id": "c"})],
)
def test_a_bound_token_writes_into_no_conversation_without_naming_its_organization(
    ingress: RunningIngress, action: str, columns: dict
):
    """Else a token of one organization could put a message into the conversation of another."""
    answer = ingress.post(message("forged", **columns) | {"action": action}, token=BOUND_TOKEN)
    assert_problem(answer, 403, "wrong_organization")


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_webhooks_are_posted(ingress: RunningIngress, method: str):
    answer = ingress.get("/webhooks", token=TOKEN, method=method)
    assert answer.status_code == 405
    assert answer.headers["allow"] == "POST"
    if method != "HEAD":
        assert_problem(answer, 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/", "/webhook", "/webhooks//", "/webhooks/x", "/WEBHOOKS", "//webhooks"])
def test_not_found(ingress: RunningIngress, path: str):
    """Everything that is sent there is lost: it is counted, and the log says where it went."""
    before = ingress.metric("bridge_misdirected_total", method="POST")
    assert_problem(ingress.get(path, token=TOKEN, method="POST"), 404, "not_found")
    assert ingress.metric("bridge_misdirected_total", method="POST") == before + 1
    eventually(lambda: [line for line in ingress.lines if f"POST {path}:" in line.get("detail", "")])
    (line,) = [line for line in ingress.lines if f"POST {path}:" in line.get("detail", "")]
    assert (line["status"], line["outcome"], line["client"]) == (404, "not_found", "127.0.0.1")
    print(f"\nfigure: lost: 1 of 1, answered 404; the operator saw: {line['detail']}")


def test_a_slash_at_the_end_loses_nothing(ingress: RunningIngress):
    answer = ingress.post(message("with a slash"), path="/webhooks/")
    assert (answer.status_code, answer.json()["id"]) == (202, "with a slash")
    assert_problem(ingress.get("/webhooks/", token=TOKEN), 405, "method_not_allowed")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics", "/openapi.json"])
def test_what_is_read_cannot_be_posted(ingress: RunningIngress, path: str):
    answer = ingress.get(path, token=TOKEN, method="POST")
    assert_problem(answer, 405, "method_not_allowed")
    assert "GET" in answer.headers["allow"]


def test_too_large_by_its_length(ingress: RunningIngress):
    answer = ingress.post(b" " * 4097)
    assert_problem(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"


def test_the_limit_itself_is_not_too_large(ingress: RunningIngress):
    body = json.dumps(message("limit")).encode()
    assert ingress.post(body + b" " * (4096 - len(body))).status_code == 202


def test_too_large_while_streaming(ingress: RunningIngress):
    answer = ingress.client.post(
        f"{ingress.url}/webhooks",
        content=iter([b" " * 1000] * 5000),
        headers={"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"},
    )
    assert_problem(answer, 413, "too_large")
    assert answer.headers["connection"] == "close"


def until_closed(client: socket.socket) -> bytes:
    answer = b""
    while data := client.recv(65536):
        answer += data
    return answer


def test_the_answer_to_a_large_body_reaches_a_client_that_goes_on_sending(ingress: RunningIngress):
    with socket.create_connection(ingress.service_address) as client:
        client.settimeout(10)
        client.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 3000000\r\nContent-Type: application/json\r\n"
            b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n"
        )
        client.sendall(b" " * 3_000_000)
        answer = until_closed(client)
        assert answer.startswith(b"HTTP/1.1 413 ")
        assert b'"reason":"too_large"' in answer


@pytest.mark.parametrize(
    "content_type",
    [
        "",
        "text/plain",
        "application/x-www-form-urlencoded",
        "application/json; charset=latin-1",
        "application/json; version=1; charset=latin-1;",
        "application/jsonx",
        "json",
    ],
)
def test_unsupported_media_type(ingress: RunningIngress, content_type: str):
    assert_problem(ingress.post(message(), **{"Content-Type": content_type}), 415, "unsupported_media_type")


@pytest.mark.parametrize(
    "content_type",
    [
        "application/json; charset=utf-8",
        "application/json;charset=utf-8;",
        "application/json; profile=x; Charset=utf-8; version=1",
        'application/json; version="1"; charset="utf-8";',
        "Application/JSON",
        'application/json;charset="UTF-8"',
        "application/cloudevents+json",
    ],
)
def test_json_by_any_of_its_names(ingress: RunningIngress, content_type: str):
    assert ingress.post(message(), **{"Content-Type": content_type}).status_code == 202


@pytest.mark.parametrize("encoding", ["br", "deflate", "gzip, gzip", "zstd"])
def test_only_gzip_is_supported(ingress: RunningIngress, encoding: str):
    assert_problem(ingress.post(message(), **{"Content-Encoding": encoding}), 415, "unsupported_media_type")


@pytest.mark.parametrize("encoding", ["gzip", "GZIP", "x-gzip"])
def test_gzip(ingress: RunningIngress, encoding: str):
    plain = json.dumps(message("zipped", name="é")).encode()
    for body in (gzip.compress(plain), gzip.compress(plain[:20]) + gzip.compress(plain[20:])):
        answer = ingress.post(body, **{"Content-Encoding": encoding})
        assert answer.status_code == 202
        assert answer.json()["event_id"] == ingress.post(plain).json()["event_id"]


def test_gzip_in_very_many_members():
    """An empty one has 20 bytes; looking at all that is behind each of 100,000 of them would take a minute."""
    plain = json.dumps(message("members", content="x" * 10_000)).encode()
    members = [gzip.compress(plain[at : at + 100], mtime=0) for at in range(0, len(plain), 100)]
    empty = gzip.compress(b"", mtime=0)
    assert decompressed(empty * 100_000 + b"".join(members), 20_000) == plain
    assert decompressed(gzip.compress(plain), 20_000) == plain


def test_a_gzip_bomb_is_too_large(ingress: RunningIngress):
    bomb = gzip.compress(b" " * 1_000_000)
    assert len(bomb) < 4096
    assert_problem(ingress.post(bomb, **{"Content-Encoding": "gzip"}), 413, "too_large")
    assert ingress.service.ingress.memory.held == 0


@pytest.mark.parametrize(
    "broken",
    [b"{}", gzip.compress(b'{"a": 1}', mtime=0)[:-9], b"\x1f\x8b", gzip.compress(b"{}", mtime=0) + b"x"],
    ids=["plain", "cut", "only the beginning", "more behind it"],
)
def test_what_is_no_gzip(ingress: RunningIngress, broken: bytes):
    assert_problem(ingress.post(broken, **{"Content-Encoding": "gzip"}), 400, "malformed_json")


def test_a_byte_order_mark_is_no_content(ingress: RunningIngress):
    plain = json.dumps(message("marked")).encode()
    answer = ingress.post(b"\xef\xbb\xbf" + plain)
    assert answer.status_code == 202
    assert answer.json()["event_id"] == ingress.post(plain).json()["event_id"]


@pytest.mark.parametrize(
    "envelope",
    [
        {"entity": "messages", "action": "truncate", "data": {"id": "1"}},
        {"entity": "messages", "action": None, "data": {"id": "1"}},
        {"entity": "messages", "action": ["insert"], "data": {"id": "1"}},
        {"entity": "messages", "data": {"id": "1"}},
        {"entity": "messages", "action": "insert"},
        {"entity": "messages", "action": "insert", "data": [1]},
        {"entity": "messages", "action": "insert", "data": {}},
        {"entity": "messages", "action": "insert", "data": {"id": ""}},
        {"entity": "messages", "action": "insert", "data": {"id": 1}},
        {"entity": "conversations", "action": "insert", "data": {"id": None}},
        {"entity": "messages", "action": "insert", "data": {"id": "1", "organization_id": 1}},
        {"entity": "messages", "action": "insert", "data": {"id": "1", "conversation_id": {}}},
        {"entity": "messages", "action": "insert", "data": {"id": "1", "conversation_id": ""}},
    ],
)
def test_invalid_event(ingress: RunningIngress, envelope: dict):
    """It is authentic and of a known entity, so its bytes are kept, under an id that is always the same."""
    body = json.dumps(envelope).encode()
    problem = assert_problem(ingress.post(body), 422, "invalid_event")
    assert body in dead_letters(ingress, problem["event_id"])[0]
    assert assert_problem(ingress.post(body), 422, "invalid_event")["event_id"] == problem["event_id"]


def test_the_dead_letter_of_an_event_with_an_empty_id_has_no_key_and_no_subject(ingress: RunningIngress):
    """An empty subject is no CloudEvent, and an empty key would put all of them into one partition."""
    problem = ingress.post({"entity": "messages", "action": "insert", "data": {"id": "", "status": {}}}).json()
    (letter,) = [
        record
        for record in ingress.kafka.topic("dead-letters")
        if dict(record.headers)["ce_id"] == problem["event_id"].encode()
    ]
    assert letter.key is None
    assert "ce_subject" not in dict(letter.headers)


@pytest.mark.parametrize(
    "envelope",
    [
        {
            "entity": "organizations_addresses",
            "action": "insert",
            "data": {"id": "1", "extra": {"access_token": SECRET}},
        },
        {"entity": "organizations_addresses", "action": SECRET, "data": SECRET},
        {"entity": None, "action": "insert", "data": {"access_token": SECRET}},
        {"entity": {"x": SECRET}, "action": {"x": SECRET}},
        {"data": {"access_token": SECRET}},
        {"entity": "x" * 200 + SECRET, "action": "insert", "data": {}},
    ],
)
def test_unsupported_entity(ingress: RunningIngress, envelope: object):
    assert_nothing_is_kept(ingress, envelope, "unsupported_entity")


@pytest.mark.parametrize("body", [[], [{"entity": "messages", "access_token": SECRET}], SECRET, 7, None, True])
def test_a_body_that_is_no_object_is_no_event(ingress: RunningIngress, body: object):
    """Events come one by one. A list of rows can be of any table, also of those that hold secrets."""
    assert_nothing_is_kept(ingress, body, "invalid_event")


def assert_nothing_is_kept(ingress: RunningIngress, envelope: object, reason: str) -> None:
    """Nothing of what it holds is kept anywhere: not in a topic, the answer, the spool's directory or the log."""
    answer = ingress.post(envelope)
    problem = assert_problem(answer, 422, reason)
    assert UUID(problem["event_id"])
    assert len(dead_letters(ingress, problem["event_id"])) == 1
    assert SECRET not in answer.text
    line = ingress.line_of(problem["event_id"])
    assert line["outcome"] == reason
    for record in ingress.kafka.log:
        assert SECRET.encode() not in record.value + repr(record.headers).encode() + (record.key or b"")
    for file in ingress.directory.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes()
    assert SECRET not in ingress.get("/metrics", token=METRICS_TOKEN).text


def test_the_request_line_says_how_it_ended_and_nothing_of_the_content(ingress: RunningIngress):
    receipt = ingress.post(message("line", content={"text": SECRET})).json()
    line = ingress.line_of(receipt["event_id"])
    assert line.pop("time").endswith("Z")
    assert line.pop("duration_ms") > 0
    assert line == {
        "event": "webhook.answered",
        "status": 202,
        "outcome": "published",
        "token": "tests",
        "entity": "messages",
        "action": "insert",
        "event_id": receipt["event_id"],
    }


@pytest.mark.parametrize(
    ("headers", "caller"),
    [
        ({"Authorization": "Bearer wrong-token-0123456789"}, "token"),
        ({"Authorization": "bearer x", "User-Agent": "pg_net/0.20.4"}, "token"),
        ({"User-Agent": "pg_net/0.20.4"}, "pg_net"),
        ({"Authorization": "Bearer", "User-Agent": "pg_net/0.20.4"}, "pg_net"),
        ({"User-Agent": "scanner/1.0"}, "stranger"),
        ({"Authorization": "Basic YTpi"}, "stranger"),
    ],
)
def test_a_scanner_is_told_from_a_sender_whose_token_is_refused(
    ingress: RunningIngress, headers: dict[str, str], caller: str
):
    before = ingress.metric("bridge_unauthorized_total", endpoint="/webhooks", caller=caller)
    assert ingress.post(message(), token=None, **headers).status_code == 401
    assert ingress.metric("bridge_unauthorized_total", endpoint="/webhooks", caller=caller) == before + 1


def test_a_failed_attempt_is_counted_and_logged_without_the_token(ingress: RunningIngress):
    before = ingress.metric("bridge_unauthorized_total", endpoint="/webhooks")
    ingress.post(message(), token="wrong-token-0123456789")
    assert ingress.metric("bridge_unauthorized_total", endpoint="/webhooks") == before + 1
    eventually(
        lambda: any(line["outcome"] == "unauthorized" and line["client"] == "127.0.0.1" for line in ingress.lines)
    )
    assert "wrong-token-0123456789" not in (ingress.directory / "log").read_text()


def test_every_outcome_is_counted_by_entity_action_and_reason(ingress: RunningIngress):
    def count(**labels: str) -> float:
        return ingress.metric("bridge_webhooks_total", **labels)

    before = (
        count(entity="messages", action="insert", outcome="published"),
        count(entity="other", outcome="unsupported_entity"),
    )
    ingress.post(message())
    ingress.post({"entity": "made up", "action": "made up"})
    assert count(entity="messages", action="insert", outcome="published") == before[0] + 1
    assert count(entity="other", outcome="unsupported_entity") == before[1] + 1
    assert "made up" not in ingress.get("/metrics", token=METRICS_TOKEN).text


#: A request of whose body the first byte has come.
BEGUN = (
    b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n"
    b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n{"
)


def test_a_body_that_does_not_come_in_time(tmp_path: Path):
    with (
        running_ingress(tmp_path, header_timeout_s=0.2, body_timeout_s=0.2) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(5)
        client.sendall(BEGUN)
        answer = until_closed(client)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b'"reason":"body_timeout"' in answer
        eventually(lambda: ingress.service.ingress.in_progress == 0)


def test_a_request_whose_body_does_not_come_in_time_is_answered_at_a_stop_as_well(tmp_path: Path):
    """Whatever headers are given: a stop waits for a body, and not for longer."""
    with (
        running_ingress(tmp_path, header_timeout_s=60, body_timeout_s=2) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(10)
        client.sendall(BEGUN)
        eventually(lambda: ingress.service.ingress.in_progress == 1)
        ingress.stop()
        answer = until_closed(client)
        assert answer.startswith(b"HTTP/1.1 408 ")


def test_a_body_that_drips_on_after_its_refusal_ends_the_connection(tmp_path: Path):
    with (
        running_ingress(tmp_path, header_timeout_s=0.3, body_timeout_s=0.3) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(5)
        client.sendall(
            b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\nContent-Type: application/json\r\n\r\n"
        )
        assert client.recv(65536).startswith(b"HTTP/1.1 401 ")

        def drip() -> bool:
            try:
                client.sendall(b"x")
                client.settimeout(0)
                return client.recv(1) == b""
            except BlockingIOError:
                return False
            except OSError:
                return True
            finally:
                client.settimeout(5)

        eventually(drip, within=10)


@pytest.mark.parametrize("beginning", [b"", b"POST /webhooks HT", b"POST /webhooks HTTP/1.1\r\nHost: x\r\n"])
def test_headers_that_do_not_come_in_time_end_the_connection(tmp_path: Path, beginning: bytes):
    with (
        running_ingress(tmp_path, header_timeout_s=0.2) as ingress,
        socket.create_connection(ingress.service_address) as client,
    ):
        client.settimeout(5)
        client.sendall(beginning)
        assert client.recv(1000) == b""


def test_a_client_that_leaves_before_its_body_is_complete_leaves_nothing(tmp_path: Path):
    with running_ingress(tmp_path) as ingress:
        with socket.create_connection(ingress.service_address) as client:
            client.sendall(
                b"POST /webhooks HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\nContent-Type: application/json\r\n"
                b"Authorization: Bearer " + TOKEN.encode() + b"\r\n\r\n" + b'{"entity":'
            )
            eventually(lambda: ingress.service.ingress.in_progress == 1)
        eventually(lambda: ingress.service.ingress.in_progress == 0)
        eventually(lambda: [line["outcome"] for line in ingress.lines] == ["client_gone"])
        assert ingress.kafka.attempts == 0


def test_a_fault_of_the_bridge_is_told_without_the_content(tmp_path: Path):
    def broken(_: object) -> None:
        raise LookupError(SECRET)

    with running_ingress(tmp_path) as ingress:
        ingress.kafka.take = broken
        answer = ingress.post(message("x", content=SECRET))
        assert_problem(answer, 500, "internal_error")
        assert SECRET not in answer.text
