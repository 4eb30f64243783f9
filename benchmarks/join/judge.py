"""Whether a contestant did the job, and when the last record arrived without which it would not have been done."""

import gc
import json
import multiprocessing
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from avro import compiled
from avro.catalogue import TOPICS, topic_name
from avro.codec import PREFIX_BYTES, schema_id_of
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
    times: list[int] = []
    written: dict[str, int] = {}
    faults: list[str] = []
    # Processes share the workload with this one. A state is made where it is compared: a million of each would not fit
    # into memory.
    with ProcessPoolExecutor(
        min(len(_WANTED), os.cpu_count() or 1),
        mp_context=multiprocessing.get_context("fork"),
        initializer=_share,
        initargs=(cluster, workload),
    ) as processes:
        for name, outcome in zip(_WANTED, processes.map(_outcome, _WANTED), strict=True):
            written[name] = outcome.records
            times.extend(outcome.times)
            faults.extend(outcome.faults)
    times.sort()
    return Verdict(times[len(times) // 2] if times else 0, times[-1] if times else 0, written, faults)


#: Makes what must come out under a key; None: any record under it will do.
_Wanted = Callable[[], dict[str, Any]] | None


def _messages(workload: Workload) -> Iterator[tuple[str, _Wanted]]:
    for conversation in workload.conversations:
        for message in conversation.messages:
            yield message.id, partial(expected.message_state, conversation, message)


def _conversations(workload: Workload) -> Iterator[tuple[str, _Wanted]]:
    for conversation in workload.conversations:
        yield conversation.id, partial(expected.conversation_state, conversation)


def _changes(workload: Workload) -> Iterator[tuple[str, _Wanted]]:
    for change in workload.status_change_ids():
        yield change, None


_WANTED = {"message-state": _messages, "conversation-state": _conversations, "status-changes": _changes}


@dataclass(frozen=True)
class _Outcome:
    records: int
    times: list[int]
    faults: list[str]


#: In a process that compares: where, and with what.
_shared: list[tuple[Cluster, Workload]] = []


def _share(cluster: Cluster, workload: Workload) -> None:
    # Trap: clients of Kafka do not survive a fork, so this process has a cluster with clients of its own.
    _shared.append((replace(cluster), workload))
    gc.freeze()


def _outcome(name: str) -> _Outcome:
    cluster, workload = _shared[-1]
    return _compare(cluster, name, dict(_WANTED[name](workload)))


def _compare(cluster: Cluster, name: str, wanted: Mapping[str, _Wanted]) -> _Outcome:
    record = TOPICS[name].schema
    assert record is not None
    # Each version by itself: resolving to the newest takes ten times as long, and only fields of version 1 count.
    readers = {
        cluster.version_ids[record, schema.version]: compiled.reader(schema.parsed_raw()) for schema in versions(record)
    }
    # All contestants are compared by what version 1 of the contract has.
    compared = {field["name"] for field in json.loads(versions(record)[0].text)["fields"]}
    done: dict[str, int] = {}
    wrong: dict[str, dict[str, Any]] = {}
    count = 0
    for message in cluster.read(topic_name(PREFIX, name)):
        count += 1
        value = message.value() or b""
        fields, end = readers[schema_id_of(value)](value, PREFIX_BYTES)
        if end != len(value):
            raise RuntimeError(f"{name}: bytes left over after {fields}")
        key = str(fields["id"])
        make = wanted.get(key)
        if key in wanted and (make is None or make() == _told(fields, compared)):
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
        make = wanted.get(key)
        right = make() if make else "that id"
        faults.append(f"{name}: {len(wrong)} of {len(wanted)} are wrong, such as {fields}, not {right}")
    return _Outcome(count, list(done.values()), faults)


def _told(fields: Mapping[str, Any], compared: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in compared and value is not None}
