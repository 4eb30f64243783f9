"""Which differences from the catalogue stop whom: all that are wrong are told, few keep a worker from starting."""

import pytest

from avro.catalogue import TOPICS
from openbsp.errors import TopicsError
from openbsp.kafka.findings import Finding, Grade, Inspection, judge
from streams.app import JOINED
from streams.contract import SOURCES


def stops(finding: Finding | None, needed: frozenset[str] | None) -> bool:
    """Return whether somebody does not go on for this finding."""
    assert finding is not None
    try:
        Inspection((finding,), {}).demand(needed, SOURCES)
    except TopicsError as error:
        return error.faults == [finding.text]
    return False


def test_a_worker_needs_each_topic_but_those_of_commands():
    assert TOPICS.keys() - JOINED == {"audits", "suppressions"}
    assert TOPICS.keys() >= JOINED


@pytest.mark.parametrize("topic", TOPICS)
@pytest.mark.parametrize("actual", ["compact", "delete", "compact,delete", "", None])
def test_another_policy_is_wrong_and_stops_a_worker_unless_it_reads_the_topic(topic: str, actual: str | None):
    """Of a compacted topic of events is lost what is not read soon: a worker that does not start reads nothing.

    What it writes it can write later, and a consumer of a compacted topic would miss all but the last of each key.
    """
    wanted = TOPICS[topic].cleanup_policy
    finding = judge(topic, f"p.{topic}", "cleanup.policy", actual, wanted)
    if actual == wanted:
        assert finding is None
        return
    assert finding is not None
    assert finding.grade is Grade.WRONG
    assert stops(finding, None)
    assert stops(finding, JOINED) is (topic in JOINED and not (wanted == "delete" and topic in SOURCES))


@pytest.mark.parametrize("topic", TOPICS)
def test_a_topic_that_is_missing_or_has_other_partitions_stops_only_who_uses_it(topic: str):
    finding = Finding(topic, Grade.WRONG, f"p.{topic}: missing")
    assert stops(finding, None)
    assert stops(finding, JOINED) is (topic in JOINED)


@pytest.mark.parametrize(("setting", "actual"), [("retention.ms", "1"), ("max.message.bytes", "1")])
def test_what_can_lose_or_refuse_something_stops_nobody(setting: str, actual: str):
    finding = judge("messages", "p.messages", setting, actual, "1000000")
    assert not stops(finding, None)
    assert not stops(finding, JOINED)
