"""Webhooks of suppressed contacts are turned away; what is not known yet waits in the spool."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bridge.suppressions.hashes import Contact, key_id
from openbsp.errors import KafkaUnavailableError, TopicsError
from support.fake_kafka import FakeSuppressions, letters
from support.ingress import TOKEN, RunningIngress, message, running_ingress
from support.wait import eventually

KEY = "a key of the deployment that is long enough"
ADDRESS = "+34600000001"
HASH = Contact(ADDRESS).hash(KEY.encode())
OTHER = "+34600000002"


def everything(ingress: RunningIngress) -> bytes:
    files = [path.read_bytes() for path in ingress.directory.rglob("*") if path.is_file()]
    return b"".join([*files, *(record.value for record in ingress.kafka.log)])


def test_a_late_webhook_of_an_erased_contact_is_refused_and_leaves_only_ids(tmp_path: Path):
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=FakeSuppressions(HASH)) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions") == 1)
        late = message("m1", contact_address=ADDRESS, service="whatsapp", content={"text": "canary"})
        answer = ingress.post(late)
        assert (answer.status_code, answer.json()["reason"]) == (422, "suppressed")
        assert ADDRESS not in answer.text
        (letter,) = letters(ingress.kafka)
        assert (letter["reason"], letter["key"], letter["payload"]) == ("suppressed", "m1", None)
        assert ingress.metric("bridge_dead_letters_total", reason="suppressed") == 1
        line = ingress.line_of(answer.json()["event_id"])
        assert line["outcome"] == "suppressed"
        kept = everything(ingress)
        assert b"canary" not in kept
        assert ADDRESS.encode() not in kept
        assert ingress.post(message("m2", contact_address=OTHER)).json()["disposition"] == "published"
        assert ingress.post({"entity": "messages", "action": "delete", "data": late["data"]}).status_code == 202


def test_entries_are_added_and_lifted_while_the_bridge_runs(tmp_path: Path):
    topic = FakeSuppressions()
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:

        def post(id_: str) -> int:
            return ingress.post(message(id_, contact_address=ADDRESS)).status_code

        eventually(ingress.service.suppressions.ready.is_set)
        assert post("m1") == 202
        topic.news.put({HASH: ""})
        eventually(lambda: ingress.metric("bridge_suppressions") == 1)
        assert post("m2") == 422
        topic.news.put({HASH: None})
        eventually(lambda: ingress.metric("bridge_suppressions") == 0)
        assert post("m3") == 202


def test_while_the_list_is_not_known_events_wait_in_the_spool_and_then_stay_out(tmp_path: Path):
    topic = FakeSuppressions(HASH, error=KafkaUnavailableError("no broker"))
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        assert ingress.post(message("m1", contact_address=ADDRESS, content={"text": "canary"})).status_code == 202
        assert ingress.post(message("m2", contact_address=OTHER)).json()["disposition"] == "spooled"
        assert not ingress.kafka.log
        assert any("suppression list cannot be read" in remark for remark in ingress.details()["remarks"])
        topic.error = None
        eventually(lambda: ingress.details()["spool"]["events"] == 0)
        eventually(lambda: len(ingress.kafka.log) == 2)
        assert [record.key for record in ingress.kafka.log if record.topic == "test.messages"] == [b"m2"]
        (letter,) = letters(ingress.kafka)
        assert (letter["origin"], letter["reason"], letter["payload"]) == ("bridge", "suppressed", None)
        assert ingress.details()["remarks"] == []
        eventually(lambda: b"canary" not in everything(ingress))


def test_a_topic_that_was_never_made_keeps_nothing_from_kafka(tmp_path: Path):
    topic = FakeSuppressions(error=TopicsError(["missing"]))
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        eventually(ingress.service.suppressions.ready.is_set)
        assert ingress.post(message("m1", contact_address=ADDRESS)).json()["disposition"] == "published"
        assert any("bridge topics apply" in remark for remark in ingress.details()["remarks"])


@pytest.mark.parametrize("error", [None, TopicsError(["missing"])], ids=["empty", "missing"])
def test_what_the_topic_has_lost_stays_in_effect_and_is_told_until_it_is_restored(tmp_path: Path, error, caplog):
    kept = Contact(OTHER).hash(KEY.encode())
    topic = FakeSuppressions(HASH, kept)
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:

        def remarks() -> list[str]:
            return [remark for remark in ingress.details()["remarks"] if "until this bridge is restarted" in remark]

        eventually(lambda: ingress.metric("bridge_suppressions") == 2)
        topic.entries, topic.error = {}, error
        topic.news.put(None)
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 2)
        assert remarks()[0].startswith("the suppression list lacks 2 of its entries")
        assert ingress.post(message("m1", contact_address=ADDRESS)).status_code == 422
        topic.error = None
        topic.news.put({HASH: ""})
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 1)
        # All of it is read once more: what is still missing stays lost.
        topic.entries = {HASH: ""}
        topic.news.put(None)
        topic.news.put({kept: None})
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 0)
        assert remarks() == []
        assert ingress.metric("bridge_suppressions") == 1
    assert sum("until this bridge is restarted" in record.getMessage() for record in caplog.records) == 1


def test_what_was_lifted_while_the_topic_could_not_be_read_is_not_lost(tmp_path: Path):
    topic = FakeSuppressions(HASH)
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions") == 1)
        topic.entries = {HASH: None}
        topic.news.put(None)
        eventually(lambda: ingress.metric("bridge_suppressions") == 0)
        assert ingress.metric("bridge_suppressions_lost") == 0
        assert ingress.details()["remarks"] == []


def remembered(directory: Path) -> str | None:
    """Return the number of entries that a bridge in a directory will know after a restart."""
    with closing(sqlite3.connect(directory / "spool" / "spool-0.db")) as spool:
        row = spool.execute("SELECT value FROM memory WHERE name = 'suppressions'").fetchone()
    return None if row is None else row[0]


@pytest.mark.parametrize("error", [None, TopicsError(["missing"])], ids=["empty", "missing"])
def test_a_list_that_is_gone_at_a_restart_is_told_at_each_until_an_entry_is_there(tmp_path: Path, error, caplog):
    """What the former process kept out comes in now, and its alarm ended with it."""
    told = "the suppression list is empty, and had 2 entries when this bridge ran before"
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=FakeSuppressions(HASH, "another")):
        eventually(lambda: remembered(tmp_path) == "2")
    topic = FakeSuppressions(error=error)
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 2)
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 2)
        assert ingress.details()["remarks"][-1].startswith(told)
        topic.error = None
        topic.news.put({HASH: ""})
        eventually(lambda: ingress.metric("bridge_suppressions_lost") == 0)
        assert ingress.details()["remarks"] == []
        eventually(lambda: remembered(tmp_path) == "1")
    assert sum(told in record.getMessage() for record in caplog.records) == 2


def test_a_list_of_which_all_was_lifted_is_not_lost_after_a_restart(tmp_path: Path):
    with running_ingress(tmp_path, suppression_key=KEY, suppressions=FakeSuppressions(HASH)):
        eventually(lambda: remembered(tmp_path) == "1")
    topic = FakeSuppressions()
    topic.entries = {HASH: None}
    for entries in (topic, FakeSuppressions()):
        with running_ingress(tmp_path, suppression_key=KEY, suppressions=entries) as ingress:
            eventually(lambda: remembered(tmp_path) == "0")
            eventually(ingress.service.suppressions.ready.is_set)
            assert ingress.metric("bridge_suppressions_lost") == 0
            assert ingress.details()["remarks"] == []


def test_a_key_that_is_missing_or_another_one_after_a_restart_is_told(tmp_path: Path, caplog):
    """Who was erased is let in, and `ready` would say that all is well."""
    other = "another key of a deployment that is long enough"

    def topic() -> FakeSuppressions:
        found = FakeSuppressions()
        found.entries = {HASH: key_id(KEY.encode()), "of a former version": ""}
        return found

    with running_ingress(tmp_path, suppression_key=KEY, suppressions=topic()) as ingress:
        eventually(lambda: remembered(tmp_path) == "2")
        assert ingress.metric("bridge_suppressions_void") == 0
        assert ingress.details()["remarks"] == []
    with running_ingress(tmp_path, suppressions=topic()) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions_void") == 2)
        (remark,) = ingress.details()["remarks"]
        assert remark.startswith("BRIDGE_SUPPRESSION_KEY is not set, and the suppression list had 2 entries")
        assert ingress.details()["status"] == "degraded"
        assert ingress.post(message("m1", contact_address=ADDRESS)).json()["disposition"] == "published"
    again = topic()
    with running_ingress(tmp_path, suppression_key=other, suppressions=again) as ingress:
        eventually(lambda: ingress.metric("bridge_suppressions_void") == 1)
        (remark,) = ingress.details()["remarks"]
        assert remark.startswith("the suppression list has entries of another BRIDGE_SUPPRESSION_KEY, 1")
        again.news.put({HASH: None})
        eventually(lambda: ingress.metric("bridge_suppressions_void") == 0)
        assert ingress.details()["remarks"] == []
    told = [record for record in caplog.records if getattr(record, "event", None) == "suppressions.void"]
    assert len(told) == 2, "once at each start"


def test_without_a_key_nothing_is_read_and_nobody_is_suppressed(tmp_path: Path):
    with running_ingress(tmp_path, suppressions=FakeSuppressions(HASH)) as ingress:
        assert ingress.post(message("m1", contact_address=ADDRESS)).json()["disposition"] == "published"
        assert json.loads(ingress.get("/readyz", token=TOKEN).text)["remarks"] == []
