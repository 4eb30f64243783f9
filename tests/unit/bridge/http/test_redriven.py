"""How often an event was redriven goes with it: into its record, through the spool, and into its next dead letter."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.fake_kafka import TIMED_OUT, TOO_LARGE
from support.ingress import RunningIngress, running_ingress
from support.wait import eventually

EVENT = {"entity": "messages", "action": "insert", "data": {"id": "m1"}}


@pytest.fixture
def ingress(tmp_path: Path) -> Iterator[RunningIngress]:
    with running_ingress(tmp_path) as running:
        yield running


def redriven(ingress: RunningIngress, topic: str) -> bytes | None:
    (record,) = eventually(lambda: ingress.kafka.topic(topic))
    return dict(record.headers).get("ce_redriven")


def test_a_record_says_so_and_the_log(ingress):
    answer = ingress.post(EVENT, **{"openbsp-redriven": "2"})
    assert answer.status_code == 202
    assert redriven(ingress, "messages") == b"2"
    assert ingress.line_of(answer.json()["event_id"])["redriven"] == 2


@pytest.mark.parametrize("value", ["", "-1", "two", "1000", "\u00b2"])
def test_what_is_no_number_counts_for_nothing(ingress, value):
    assert ingress.post(EVENT, **{"openbsp-redriven": value.encode()}).status_code == 202
    assert redriven(ingress, "messages") is None


def test_a_dead_letter_of_a_webhook_says_so(ingress):
    ingress.post({"entity": "messages", "action": "insert", "data": {}}, **{"openbsp-redriven": "1"})
    assert redriven(ingress, "dead-letters") == b"1"


def test_a_dead_letter_that_was_spooled_says_so(ingress):
    ingress.kafka.verdict = lambda _: TIMED_OUT
    ingress.post({"entity": "messages", "action": "insert", "data": {}}, **{"openbsp-redriven": "1"})
    ingress.kafka.verdict = lambda _: None
    assert redriven(ingress, "dead-letters") == b"1"


def test_what_the_broker_refuses_again_says_so(ingress):
    ingress.kafka.verdict = lambda record: TOO_LARGE if record.topic.endswith("messages") else None
    assert ingress.post(EVENT, **{"openbsp-redriven": "1"}).json()["disposition"] == "spooled"
    assert redriven(ingress, "dead-letters") == b"1"


def test_an_event_that_nobody_redrove_has_no_such_header(ingress):
    ingress.post(EVENT)
    assert redriven(ingress, "messages") is None


class TestRights:
    """Whoever redrives an event gives it no rights that its sender had not."""

    def organizations(self, ingress: RunningIngress, topic: str) -> bytes | None:
        (record,) = eventually(lambda: ingress.kafka.topic(topic))
        return dict(record.headers).get("ce_organizations")

    def test_a_sender_may_give_up_rights(self, ingress):
        row = {"entity": "messages", "action": "insert", "data": {"id": "m1", "organization_id": "a"}}
        assert ingress.post(row, **{"openbsp-organizations": "a b"}).status_code == 202
        assert self.organizations(ingress, "messages") == b"a"

    def test_and_has_none_then_of_others(self, ingress):
        row = {"entity": "messages", "action": "insert", "data": {"id": "m1", "organization_id": "c"}}
        assert ingress.post(row, **{"openbsp-organizations": "a b"}).status_code == 403

    @pytest.mark.parametrize("value", ["", "\u00e9"])
    def test_what_names_no_organization_gives_up_all(self, ingress, value):
        row = {"entity": "messages", "action": "update", "data": {"id": "m1", "organization_id": "a"}}
        assert ingress.post(row, **{"openbsp-organizations": value.encode()}).status_code == 403

    def test_a_dead_letter_says_whose_rows_its_sender_may_tell_of(self, ingress):
        ingress.kafka.verdict = lambda _: TIMED_OUT
        ingress.post({"entity": "messages", "action": "insert", "data": {}}, **{"openbsp-organizations": "b a"})
        ingress.kafka.verdict = lambda _: None
        assert self.organizations(ingress, "dead-letters") == b"a b"

    def test_so_does_one_that_the_broker_refused(self, ingress):
        ingress.kafka.verdict = lambda record: TOO_LARGE if record.topic.endswith("messages") else None
        partial = {"entity": "messages", "action": "update", "data": {"id": "m1"}}
        assert ingress.post(partial, **{"openbsp-organizations": "b a"}).status_code == 202
        assert self.organizations(ingress, "dead-letters") == b"a b"
