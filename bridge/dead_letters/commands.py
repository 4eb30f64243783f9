"""`bridge dead-letters list`, `show` and `redrive`: what they do, given their options."""

import contextlib
import functools
import heapq
import logging
from collections import Counter
from collections.abc import Container, Iterator
from typing import cast

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from avro import writers
from avro.catalogue import TOPICS
from avro.columns import ENTITIES
from avro.dead_letters import REDRIVEN_HEADER, redrives
from bridge.client import BridgeClient, Outcome, StoppedError
from bridge.cluster import Cluster
from bridge.dead_letters import show
from bridge.dead_letters.letters import DeadLetterTopic, Letter, PositionError, Wanted, header_of, position_in
from bridge.dead_letters.plan import NotRedrivableError, Planner, Redrive
from openbsp.commands import complain
from openbsp.console import make_console
from openbsp.kafka.position import Position
from openbsp.kafka.reading import Range, TopicReader, ValueReader
from openbsp.log import as_text, event, line_of, start_logging
from openbsp.terminal import printable

_log = logging.getLogger(__name__)

#: Deepest nesting of a body that is planned; the bridge applies its own limit on arrival.
_MAX_DEPTH = 400


def list_letters(cluster: Cluster, wanted: Wanted, most: int, *, as_json: bool) -> None:
    """Print the matching dead letters, in the order of their times; of more than `most` the newest."""
    newest: list[tuple[int, Position, Letter]] = []
    count = 0
    with DeadLetterTopic(cluster) as topic:
        for letter in topic.read(topic.range(wanted), wanted):
            count += 1
            if as_json:
                print(show.as_json(letter))  # noqa: T201 the command's output
                continue
            entry = (letter.received_at, letter.position, _without_payload(letter))
            if len(newest) < most:
                heapq.heappush(newest, entry)
            else:
                heapq.heappushpop(newest, entry)
        _complain_of_unreadable(topic)
    if as_json:
        return
    console = make_console(file_width=show.FILE_WIDTH)
    if not count:
        console.print("no dead letters")
        return
    console.print(show.table([letter for _, _, letter in sorted(newest, key=lambda entry: entry[:2])]))
    if count > len(newest):
        console.print(f"{count - len(newest)} older ones are not shown: --limit, or narrow it down")


def show_letter(cluster: Cluster, position_text: str, *, as_json: bool, all_bytes: bool) -> bool:
    """Print a dead letter whole; return whether there is one. Raises PositionError for an invalid position."""
    with DeadLetterTopic(cluster) as topic:
        position = position_in(topic.name, position_text)
        letter = topic.at(position)
        if letter is None:
            why = topic.unreadable.get(position, "there is no dead letter; retention may have deleted it")
            complain("bridge", f"{position}: {why}")
            return False
    with _planner(cluster) as planner:
        found = _verdict(planner, letter)
    if as_json:
        print(show.as_json(letter, found))  # noqa: T201 the command's output
    else:
        show.whole(make_console(file_width=show.FILE_WIDTH), letter, found, all_bytes=all_bytes)
    return True


def plan(cluster: Cluster, wanted: Wanted, position: str | None, *, as_json: bool) -> None:
    """Print what `redrive` would do."""
    console = make_console(file_width=show.FILE_WIDTH)
    counts: Counter[str] = Counter()
    letters, verdicts = [], []
    with DeadLetterTopic(cluster) as topic, _planner(cluster) as planner:
        within = _range(topic, wanted, position)
        last = planner.last_of_each(topic.read(within, wanted))
        for letter in topic.read(within, wanted):
            found = _verdict(planner, letter, last)
            counts["possible" if isinstance(found, Redrive) else "impossible"] += 1
            if as_json:
                print(show.as_json(letter, found))  # noqa: T201 the command's output
            else:
                letters.append(_without_payload(letter))
                verdicts.append(_without_body(found))
        _complain_of_unreadable(topic)
    if as_json:
        return
    if letters:
        console.print(show.table(letters, verdicts))
    console.print(
        f"{counts['possible']} can be redriven, {counts['impossible']} cannot. Nothing was sent: --execute does it."
    )


def execute(cluster: Cluster, wanted: Wanted, position: str | None, client: BridgeClient) -> bool:
    """Redrive, with a line of the log for each; return whether every one that can be redriven was taken.

    One that is named by its position has to be one that can be.
    """
    counts: Counter[str] = Counter()
    with DeadLetterTopic(cluster) as topic, _planner(cluster) as planner, _progress() as progress:
        within = _range(topic, wanted, position)
        last = planner.last_of_each(topic.read(within, wanted))
        task = progress.add_task("dead letters", total=sum(end - start for start, end in within.values()))
        done = 0
        try:
            for letter in topic.read(within, wanted):
                found = _verdict(planner, letter, last)
                if isinstance(found, NotRedrivableError):
                    counts["not redriven"] += 1
                    _log.info("not redriven: %s", found, extra=_audit("dead_letters.not_redriven", letter))
                else:
                    headers = found.headers()
                    if letter.organizations is not None:
                        headers[writers.HTTP_HEADER] = writers.http_value(letter.organizations)
                    outcome = client.send(found.body, headers)
                    counts[_kind(outcome)] += 1
                    _log_outcome(letter, found, outcome)
                done += 1
                progress.update(task, completed=done)
        except StoppedError as error:
            counts["stopped"] += 1
            complain("bridge", f"stopped: {printable(str(error))}. It is safe to redrive again.")
        progress.update(task, total=done)
        _complain_of_unreadable(topic)
    parts = [f"{number} {kind}" for kind, number in sorted(counts.items()) if kind != "stopped"]
    make_console(file_width=show.FILE_WIDTH).print(", ".join(parts) or "no dead letters")
    if position is not None and (counts["not redriven"] or not counts):
        return False
    return not counts["refused again"] and not counts["stopped"]


def _range(topic: DeadLetterTopic, wanted: Wanted, position: str | None) -> Range:
    if position is None:
        return topic.range(wanted)
    place = position_in(topic.name, position)
    if topic.at(place) is None and place not in topic.unreadable:
        raise PositionError(f"{place}: there is no dead letter; retention may have deleted it")
    return {place.partition: (place.offset, place.offset + 1)}


@contextlib.contextmanager
def _planner(cluster: Cluster) -> Iterator[Planner]:
    readers: dict[str, TopicReader] = {}
    with contextlib.ExitStack() as stack:

        @functools.cache
        def redriven_at(source: Position) -> int:
            """Return how often the event of a record was redriven; 0 also if the record is gone."""
            if source.topic not in readers:
                readers[source.topic] = stack.enter_context(TopicReader(cluster.kafka, source.topic))
            message = readers[source.topic].one(source.partition, source.offset)
            return 0 if message is None else redrives(header_of(message, REDRIVEN_HEADER))

        decoders = {
            entity.name: ValueReader(cast("str", TOPICS[entity.topic].schema), cluster.registry).decode
            for entity in ENTITIES.values()
        }
        yield Planner(cluster.topics.prefix, decoders, redriven_at, max_depth=_MAX_DEPTH)


def _verdict(planner: Planner, letter: Letter, last: Container[Position] | None = None) -> show.Verdict:
    """Return the result of redriving. `last` has the latest dead letter of each event; None: any is redriven."""
    try:
        found = planner.plan(letter)
    except NotRedrivableError as error:
        return error
    if last is not None and letter.position not in last:
        return NotRedrivableError("its event is in a later dead letter as well, which counts for both")
    return found


def _kind(outcome: Outcome) -> str:
    return outcome.disposition if outcome.taken else "refused again"


def _log_outcome(letter: Letter, redrive: Redrive, outcome: Outcome) -> None:
    values = {"attempt": redrive.attempt, "disposition": outcome.disposition, "event_id": outcome.event_id}
    if outcome.taken:
        _log.info("redriven", extra=_audit("dead_letters.redriven", letter, **values))
    else:
        _log.warning("refused again: %s", outcome.text, extra=_audit("dead_letters.refused_again", letter, **values))


def _audit(name: str, letter: Letter, **values: object) -> dict[str, object]:
    about = {
        "position": str(letter.position),
        "reason": letter.reason,
        "origin": letter.origin,
        "entity": letter.entity,
        "id": letter.fields["key"],
        "organization": letter.fields["organization_id"],
        "dead_letter_event_id": letter.fields["event_id"],
    }
    return event(name, **about, **values)


class _ConsoleHandler(logging.Handler):
    """Writes the log above a progress bar."""

    def __init__(self, console: Console) -> None:
        super().__init__()
        self._console = console

    def emit(self, record: logging.LogRecord) -> None:
        self._console.print(printable(as_text(line_of(record))), soft_wrap=True)


@contextlib.contextmanager
def _progress() -> Iterator[Progress]:
    """Show progress on a terminal, and write the log to standard error: above the bar, or as lines of JSON."""
    console = make_console(stderr=True)
    writer = start_logging("INFO", 2)
    if console.is_terminal:
        logging.getLogger().handlers = [_ConsoleHandler(console)]
    try:
        with Progress(
            TextColumn("{task.description}"),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        ) as progress:
            yield progress
    finally:
        writer.close()


def _complain_of_unreadable(topic: DeadLetterTopic) -> None:
    for position, why in topic.unreadable.items():
        complain("bridge", f"{position} is not a dead letter of this project: {printable(why)}")


def _without_payload(letter: Letter) -> Letter:
    """Return it without its bytes: a list keeps only what it shows."""
    return Letter(letter.position, {**letter.fields, "payload": None}, letter.redriven, letter.organizations)


def _without_body(found: show.Verdict) -> show.Verdict:
    """Return it without its bytes, as above."""
    return Redrive(b"", found.event, found.attempt) if isinstance(found, Redrive) else found
