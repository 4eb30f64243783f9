"""How dead letters are printed: as a table, one of them whole, and as JSON lines. All text is escaped for terminals."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from avro import instants
from bridge.dead_letters.letters import Letter
from bridge.dead_letters.plan import NotRedrivableError, Redrive
from bridge.dead_letters.reasons import explain
from openbsp.terminal import printable, printable_bytes

#: How much of a payload is shown by default.
PAYLOAD_BYTES = 4096
#: Width of output to a non-terminal: a position and two ids fit beside the rest.
FILE_WIDTH = 220

#: The result of redriving a dead letter, or why it cannot be redriven.
Verdict = Redrive | NotRedrivableError


def table(letters: Sequence[Letter], verdicts: Sequence[Verdict] | None = None) -> Table:
    """Return a row for each dead letter, with the result of redriving it if there are verdicts."""
    made = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("position", "when", "reason", "entity", "id", "organization"):
        made.add_column(column, overflow="fold")
    made.add_column("bytes", justify="right")
    if verdicts is not None:
        made.add_column("redrive", overflow="fold")
    for index, letter in enumerate(letters):
        fields = letter.fields
        cells = [
            str(letter.position),
            when(letter),
            reason(letter),
            letter.entity,
            fields["key"],
            fields["organization_id"],
            None if letter.size is None else str(letter.size),
        ]
        if verdicts is not None:
            cells.append(verdict(verdicts[index]))
        made.add_row(*(Text("-" if cell is None else printable(cell)) for cell in cells))
    return made


def when(letter: Letter) -> str:
    """Return when it was refused, to the second."""
    return instants.render(letter.received_at)[:19] + "Z"


def reason(letter: Letter) -> str:
    """Return the reason, of the worker's with its origin: both have a `too_large`."""
    return letter.reason if letter.origin == "webhook" else f"{letter.origin}: {letter.reason}"


def verdict(found: Verdict) -> str:
    """Return the result of redriving, in a few words."""
    if isinstance(found, NotRedrivableError):
        return f"no: {found}"
    again = "" if found.attempt == 1 else f", attempt {found.attempt}"
    return f"{found.event.entity.name} {found.event.action} {found.event.id}{again}"


def as_json(letter: Letter, found: Verdict | None = None) -> str:
    """Return a dead letter as a line of JSON; its payload as text where it is UTF-8, else in hexadecimal."""
    fields: dict[str, Any] = dict(letter.fields)
    payload = fields.pop("payload")
    line: dict[str, Any] = {
        "position": str(letter.position),
        **fields,
        "entity": letter.entity,
        "received_at": instants.render(letter.received_at),
        "redriven": letter.redriven,
        **_payload(payload),
    }
    if found is not None:
        line["redrive"] = (
            {"possible": False, "why": str(found)}
            if isinstance(found, NotRedrivableError)
            else {
                "possible": True,
                "event_id": found.event.event_id,
                "entity": found.event.entity.name,
                "action": found.event.action,
                "id": found.event.id,
                "attempt": found.attempt,
            }
        )
    return printable(json.dumps(line, ensure_ascii=False))


def whole(console: Console, letter: Letter, found: Verdict, *, all_bytes: bool) -> None:
    """Print a dead letter: its fields, what its reason means, what to do, and the payload."""
    explanation = explain(letter.origin, letter.reason)
    grid = Table.grid(padding=(0, 2))
    grid.add_column()
    grid.add_column(overflow="fold")
    for name, value in _rows(letter):
        grid.add_row(Text(name, "cyan"), Text(printable(value)))
    for name, text in (
        ("meaning", explanation.meaning),
        ("what to do", explanation.advice),
        ("redrive", verdict(found)),
    ):
        grid.add_row(Text(name, "bold"), Text(printable(text)))
    console.print(grid)
    if letter.payload is None:
        return
    most = len(letter.payload) if all_bytes else PAYLOAD_BYTES
    console.print(Text("payload", "cyan"))
    console.print(Text(printable_bytes(letter.payload, most), overflow="fold"), soft_wrap=True)
    if isinstance(found, Redrive) and found.body != letter.payload:
        console.print(Text("the same as a webhook", "cyan"))
        console.print(Text(printable_bytes(found.body, most), overflow="fold"), soft_wrap=True)


def _rows(letter: Letter) -> list[tuple[str, str]]:
    fields: Mapping[str, Any] = letter.fields
    source = letter.source
    rows = {
        "position": str(letter.position),
        "when": instants.render(letter.received_at),
        "reason": letter.reason,
        "detail": fields["detail"],
        "origin": letter.origin,
        "event id": fields["event_id"],
        "entity": letter.entity,
        "action": fields["action"],
        "id": fields["key"],
        "organization": fields["organization_id"],
        "refused record": fields["topic"] if source is None else str(source),
        "bytes": None if letter.size is None else str(letter.size),
        "redriven before": str(letter.redriven) if letter.redriven else None,
    }
    return [(name, value) for name, value in rows.items() if value is not None]


def _payload(payload: bytes | None) -> dict[str, Any]:
    if payload is None:
        return {"payload": None}
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload": None, "payload_hex": payload.hex()}
