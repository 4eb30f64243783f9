"""The output of the demo, on a terminal and in a file."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.json import JSON
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from openbsp.demo.checks import Check
from openbsp.demo.records import Record
from openbsp.send import Answer


def show_answers(console: Console, answers: Sequence[Answer]) -> None:
    """Print what the bridge answered to each payload."""
    table = _table(
        f"POST /webhooks: {len(answers)} answer{'' if len(answers) == 1 else 's'}", "payload", "status", "receipt"
    )
    for answer in answers:
        table.add_row(answer.payload, str(answer.status or "-"), _receipt(answer))
    console.print(table)


def show_records(console: Console, topic: str, records: Sequence[Record]) -> None:
    """Print all records of a topic, as the deserializer gave them."""
    title = f"topic {topic}: {len(records)} record{'' if len(records) == 1 else 's'}"
    if not records:
        console.print(Text(title, "bold"))
        return
    table = _table(title, "partition, offset, key", "value")
    for record in sorted(records, key=lambda record: (record.partition, record.offset)):
        table.add_row(
            Text(f"{record.partition}, {record.offset}, {record.key}"),
            _fields(record.value) if record.value else Text("tombstone"),
        )
    console.print(table)


def show_view(console: Console, url: str, view: Mapping[str, Any] | None) -> None:
    """Print the conversation as the streams worker answers it."""
    body = JSON(json.dumps(view)) if view is not None else Text("no answer")
    console.print(Panel(body, title=f"GET {url}", title_align="left"))


def show_checks(console: Console, checks: Sequence[Check]) -> None:
    """Print the expectations, and what is missing."""
    for check in checks:
        mark = Text("MISSING  ", "bold red") if check.faults else Text("ok  ", "green")
        console.print(mark + Text(check.text))
        for fault in check.faults:
            console.print(Text(f"    {fault}", "red"))


def _table(title: str, *columns: str) -> Table:
    table = Table(*columns, title=Text(title, "bold"), title_justify="left", show_lines=True, expand=True)
    table.columns[-1].overflow = "fold"
    table.columns[-1].ratio = 1
    return table


def _receipt(answer: Answer) -> Text:
    try:
        fields = json.loads(answer.text).items()
    except (ValueError, AttributeError):
        return Text(answer.text)
    return Text(", ".join(f"{name} {_text(value)}" for name, value in fields))


def _fields(value: Mapping[str, Any]) -> Table:
    """Return the fields that are set, in the schema's order."""
    grid = Table.grid(padding=(0, 2))
    for name, field in value.items():
        if field is not None and field not in ({}, []):
            grid.add_row(Text(name, "cyan"), Text(_text(field), overflow="fold"))
    return grid


def _text(value: Any) -> str:
    # Instants are datetimes.
    return json.dumps(value, default=str, ensure_ascii=False) if isinstance(value, dict | list | bool) else str(value)
