"""`bridge tap`: follows a topic until enough records were read or it is interrupted."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from avro.catalogue import TOPICS, topic_name
from bridge.tap.records import Condition, Decoding, Tapped, text_of
from openbsp.kafka.reading import TopicReader
from openbsp.kafka.registry import Registry
from openbsp.terminal import printable

BEGINNING = "beginning"
END = "end"


class UnknownTopicError(ValueError):
    """A topic that is not in the catalogue."""


def full_name(given: str, prefix: str) -> str:
    """Return the full name of a topic, given that or the catalogue's. Raises UnknownTopicError, which names all."""
    if given in TOPICS:
        return topic_name(prefix, given)
    names = {topic_name(prefix, name): topic for name, topic in TOPICS.items()}
    if given in names:
        return given
    public = [name for name, topic in TOPICS.items() if not topic.internal]
    raise UnknownTopicError(f"there is no topic {given!r}: the topics are {', '.join(public)}")


def follow(
    reader: TopicReader,
    registry: Registry,
    write: Callable[[Tapped], None],
    *,
    conditions: Sequence[Condition] = (),
    start: str | int = END,
    most: int | None = None,
) -> None:
    """Write records that match all conditions as they arrive, at most so many.

    `start` is BEGINNING, END or microseconds since the epoch: records appended at that moment or later.
    """
    decoding = Decoding(registry)
    count = 0
    if start == END:
        starts = reader.ends()
    else:
        since_ms = None if isinstance(start, str) else start // 1000
        starts = {partition: first for partition, (first, _) in reader.range(since_ms).items()}
    for message in reader.follow(starts):
        if message is None:
            continue
        tapped = decoding.tapped(message)
        if not all(condition.holds(tapped) for condition in conditions):
            continue
        write(tapped)
        count += 1
        if count == most:
            return


def as_json_line(tapped: Tapped) -> None:
    """Write a record as a line of JSON, unbuffered: the pipe's reader should not wait for more."""
    print(printable(tapped.as_json()), flush=True)  # noqa: T201 the command's output


def readable(console: Console) -> Callable[[Tapped], None]:
    """Return a function that prints a record with a line for each field that it has."""

    def write(tapped: Tapped) -> None:
        when = "-" if tapped.time is None else tapped.time.isoformat(timespec="milliseconds").replace("+00:00", "Z")
        kind = tapped.headers.get("ce_type", "")
        head = Text(f"{tapped.partition}:{tapped.offset}", "bold")
        console.print(
            head
            + Text(f"  {when}  ")
            + Text(printable("-" if tapped.key is None else tapped.key), "green")
            + Text(printable(f"  {kind}"), "dim"),
            soft_wrap=True,
        )
        if tapped.fault is not None:
            console.print(Text(f"  {printable(tapped.fault)}", "red"), soft_wrap=True)
        elif tapped.value is None:
            console.print(Text("  tombstone: the key was deleted", "yellow"))
        else:
            for name, value in _present(tapped.value):
                console.print(Text(f"  {printable(name)}  ", "cyan") + Text(printable(_text(value))), soft_wrap=True)

    return write


def _present(value: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """Return the fields with a value."""
    return [(name, content) for name, content in value.items() if content is not None and content not in ({}, [])]


def _text(value: Any) -> str:
    if isinstance(value, dict | list | bool):
        return json.dumps(value, default=text_of, ensure_ascii=False)
    return text_of(value)
