"""Whatever is posted, the answer is one of the table's, and never a fault of the bridge."""

import json
import string
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from avro.codec import Decoder
from avro.columns import ENTITIES
from avro.rows import to_row
from avro.schemas import latest
from support.fake_kafka import IDS
from support.ingress import RunningIngress, running_ingress

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=10,
)
COLUMN = st.sampled_from(sorted(ENTITIES["messages"].columns)) | TEXT
ROW = st.dictionaries(COLUMN, JSON, max_size=8)
ENVELOPE = st.fixed_dictionaries(
    {},
    optional={
        "entity": st.sampled_from(["messages", "conversations", "organizations_addresses"]) | JSON,
        "action": st.sampled_from(["insert", "update", "delete"]) | JSON,
        "data": ROW | JSON,
        "more": JSON,
    },
)
EVENT = st.builds(
    lambda row, row_id, entity, action: {"entity": entity, "action": action, "data": {**row, "id": row_id}},
    st.dictionaries(COLUMN.filter(lambda name: name not in {"organization_id", "conversation_id"}), JSON, max_size=8),
    TEXT.filter(bool),
    st.sampled_from(["messages", "conversations"]),
    st.sampled_from(["insert", "update"]),
)
ALLOWED = {202: None, 400: {"malformed_json"}, 422: {"invalid_event", "unsupported_entity"}}


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path_factory.mktemp("fuzz")) as running:
        yield running


def assert_allowed(ingress: RunningIngress, body: bytes) -> None:
    answer = ingress.post(body)
    assert answer.status_code in ALLOWED, answer.text
    assert "Traceback" not in answer.text
    reasons = ALLOWED[answer.status_code]
    if reasons is None:
        assert answer.json()["disposition"] == "published"
    else:
        assert answer.json()["reason"] in reasons
        assert answer.headers["content-type"] == "application/problem+json"


@given(body=st.binary(max_size=200))
@example(body=b"\xef\xbb\xbf{}")
@example(body=b'{"entity":"messages","action":"insert","data":{"id":"1"}}\x00')
@example(body=b"1e999999999999")
@example(body=b'{"entity":"messages","action":"insert","data":{"id":"1","x":1e99999999999999999999}}')
@example(body=b'{"entity":"messages","action":"insert","data":{"id":"1","x":' + b"9" * 5000 + b"}}")
@example(body=b'{"entity":"messages","action":"insert","data":{"id":"1","x":-0.0,"\\u0000":"\\u0000"}}')
def test_any_bytes(ingress: RunningIngress, body: bytes):
    assert_allowed(ingress, body)


@given(text=st.text(string.printable, max_size=100))
def test_any_text(ingress: RunningIngress, text: str):
    assert_allowed(ingress, text.encode())


@given(value=JSON)
def test_any_json(ingress: RunningIngress, value: object):
    assert_allowed(ingress, json.dumps(value).encode())


@given(envelope=ENVELOPE)
def test_anything_that_looks_like_an_envelope(ingress: RunningIngress, envelope: dict):
    assert_allowed(ingress, json.dumps(envelope).encode())


@given(envelope=EVENT)
@example(
    envelope={
        "entity": "messages",
        "action": "insert",
        "data": {"id": "\x00", "updated_at": "0001-01-01T00:00:00+23:59"},
    }
)
@example(
    envelope={
        "entity": "messages",
        "action": "update",
        "data": {"id": "1", "updated_at": "9999-12-31T23:59:59.999999-23:59"},
    }
)
@example(
    envelope={
        "entity": "messages",
        "action": "update",
        "data": {"id": "1", "event_id": "x", "extra": {}, "nulls": [], "errors": 1},
    }
)
def test_every_event_is_accepted_and_its_row_can_be_rebuilt(ingress: RunningIngress, envelope: dict):
    answer = ingress.post(envelope)
    assert answer.status_code == 202, answer.text
    receipt = answer.json()
    record = ingress.kafka.topic(receipt["topic"])[receipt["offset"]]
    assert record.key.decode() == envelope["data"]["id"]
    name = {"messages": "MessageEvent", "conversations": "ConversationEvent"}[envelope["entity"]]
    decoder = Decoder(name)
    decoder.learn(IDS[name], latest(name).text)
    fields = decoder.decode(record.value)
    assert fields["event_id"] == receipt["event_id"]
    assert fields["action"] == envelope["action"]
    # Instants are rebuilt in UTC, numbers as decimals: the columns are what must be the same here.
    assert to_row(ENTITIES[envelope["entity"]], fields).keys() == envelope["data"].keys()


@given(
    headers=st.dictionaries(
        st.sampled_from(["Content-Type", "Content-Encoding", "traceparent", "Authorization", "X-Any"]),
        st.text(string.ascii_letters + string.digits + ' /;="-', max_size=30).map(str.strip),
    )
)
def test_any_headers(ingress: RunningIngress, headers: dict[str, str]):
    answer = ingress.post({"entity": "messages", "action": "insert", "data": {"id": "1"}}, **headers)
    assert answer.status_code in {202, 401, 415}
