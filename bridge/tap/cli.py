"""`bridge tap`: options and messages."""

import os
import sys
from typing import Annotated

import typer

from openbsp.commands import complain
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.settings import load


def tap(
    topic: Annotated[str, typer.Argument(metavar="TOPIC", help="Such as status-changes, with the prefix or without.")],
    *,
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=VALUE",
            help="Only records whose field has this value, such as conversation.status=open; all of several.",
        ),
    ] = None,
    start: Annotated[
        str,
        typer.Option("--from", metavar="MOMENT", help="`beginning`, `end`, 2h ago, or an instant."),
    ] = "end",
    most: Annotated[int | None, typer.Option("--max", min=1, metavar="N", help="Stop after N records.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print a line of JSON for each.")] = False,
) -> None:
    """Print the records of a topic as they come, decoded, until Ctrl-C. It joins no group and commits nothing."""
    from avro import instants
    from avro.catalogue import TOPICS
    from bridge.tap.records import Condition, ConditionError
    from bridge.tap.tap import BEGINNING, END, UnknownTopicError, as_json_line, follow, full_name, readable
    from openbsp.console import make_console
    from openbsp.kafka.reading import TopicReader
    from openbsp.kafka.registry import Registry
    from openbsp.moments import moment
    from openbsp.up.interrupts import Interrupts

    kafka, registry, topics = load(KafkaSettings, RegistrySettings, TopicSettings)
    try:
        name = full_name(topic, topics.prefix)
        conditions = [Condition.parse(text) for text in where or ()]
        begin = start if start in {BEGINNING, END} else moment(start, instants.now())
    except (UnknownTopicError, ConditionError, ValueError) as error:
        raise typer.BadParameter(str(error)) from None
    # Not refused: a newer version may have written a field that this one does not know.
    record = TOPICS[name.removeprefix(topics.prefix)].schema
    for fault in filter(None, (condition.fault(record) for condition in conditions)):
        complain("bridge", f"waiting, although perhaps no record will fit: {fault}")
    write = as_json_line if as_json else readable(make_console())
    # Ctrl-C is how it usually ends: the consumer is closed, and the exit code is 0.
    with Interrupts().interruptible(), Registry(registry, topics.prefix) as client, TopicReader(kafka, name) as reader:
        try:
            follow(reader, client, write, conditions=conditions, start=begin, most=most)
        except BrokenPipeError:
            # As `| head` ends it. Trap: Python flushes again at exit, and would complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
