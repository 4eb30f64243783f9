"""Whether a contestant did the job, and when the last record arrived without which it would not have been done."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from avro.catalogue import TOPICS, topic_name
from avro.codec import Decoder
from avro.schemas import versions
from join import expected
from join.cluster import PREFIX, Cluster
from join.workload import Workload

_SHOWN = 3


@dataclass(frozen=True)
class Verdict:
    """When half of the needed records had arrived, and when all of them (ms); meaningless if there are faults."""

    half_at: int
    complete_at: int
    written: Mapping[str, int]
    faults: list[str]


def judge(cluster: Cluster, workload: Workload) -> Verdict:
    """Read all outputs and compare them with what the workload must lead to.

    A key of a state topic is done with the first record that is right; the last one must be right too. A status change
    is done with the first record of its id.
    """
    messages = {
        message.id: expected.message_state(conversation, message)
        for conversation in workload.conversations
        for message in conversation.messages
    }
    conversations = {
        conversation.id: expected.conversation_state(conversation) for conversation in workload.conversations
    }
    changes = dict.fromkeys(workload.status_change_ids())
    times: list[int] = []
    written: dict[str, int] = {}
    faults: list[str] = []
    wanted: Mapping[str, Mapping[str, dict[str, Any] | None]] = {
        "message-state": messages,
        "conversation-state": conversations,
        "status-changes": changes,
    }
    for name, values in wanted.items():
        outcome = _compare(cluster, name, values)
        written[name] = outcome.records
        times.extend(outcome.times)
        faults.extend(outcome.faults)
    times.sort()
    return Verdict(times[len(times) // 2] if times else 0, times[-1] if times else 0, written, faults)


@dataclass(frozen=True)
class _Outcome:
    records: int
    times: Iterable[int]
    faults: list[str]


def _compare(cluster: Cluster, name: str, wanted: Mapping[str, dict[str, Any] | None]) -> _Outcome:
    record = TOPICS[name].schema
    assert record is not None
    decoder = Decoder(record)
    for schema in versions(record):
        decoder.learn(cluster.version_ids[record, schema.version], schema.text)
    # All contestants are compared by what version 1 of the contract has.
    compared = {field["name"] for field in json.loads(versions(record)[0].text)["fields"]}
    done: dict[str, int] = {}
    wrong: dict[str, dict[str, Any]] = {}
    count = 0
    for message in cluster.read(topic_name(PREFIX, name)):
        count += 1
        fields = decoder.decode(message.value() or b"")
        key = str(fields["id"])
        right = wanted.get(key)
        told = {name: value for name, value in fields.items() if name in compared and value is not None}
        if key in wanted and (right is None or told == right):
            done.setdefault(key, message.timestamp()[1])
            wrong.pop(key, None)
        else:
            wrong[key] = fields
    faults = []
    missing = wanted.keys() - done.keys() - wrong.keys()
    if missing:
        faults.append(f"{name}: {len(missing)} of {len(wanted)} are missing, such as {sorted(missing)[:_SHOWN]}")
    if wrong:
        key, fields = next(iter(wrong.items()))
        faults.append(f"{name}: {len(wrong)} of {len(wanted)} are wrong, such as {fields}, not {wanted.get(key)}")
    return _Outcome(count, done.values(), faults)
