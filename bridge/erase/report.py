"""The report of an erasure: what was deleted, and each place; as JSON, so that it can be verified later, and as text.

It holds ids and no address: a stored report must not identify the person.
"""

import json
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.places import Place
from openbsp.terminal import printable

#: How many rows a table lists.
_MOST_ROWS = 50


@dataclass(slots=True)
class Report:
    """What was, or would be, deleted. `left` describes what is still visible; `verified`: from a later search.

    `undecided` counts events in spools whose person only the states could tell. `unknown_address`: nothing has the
    address, and it was not on the suppression list before.
    """

    at: datetime
    wanted: Wanted
    rows: list[Row]
    places: list[Place]
    left: list[str] = field(default_factory=list)
    dead_letters: list[str] = field(default_factory=list)
    unreadable_states: int = 0
    undecided: int = 0
    unknown_address: bool = False
    done: bool = False
    verified: bool = False

    @property
    def faults(self) -> list[str]:
        """What should not be there, in words."""
        return self.left + [f"{place.name}: {place.fault}" for place in self.places if place.fault is not None]

    @property
    def well(self) -> bool:
        """Whether it is a plan, or everything that can be gone is gone, and what is left has a date."""
        return not self.done or not (self.faults or self.unreadable_states)

    def content(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return {
            "at": self.at.isoformat(),
            "done": self.done,
            "verified": self.verified,
            "wanted": {
                "messages": sorted(self.wanted.messages),
                "conversations": sorted(self.wanted.conversations),
                "contact": self.wanted.contact is not None,
                "service": self.wanted.service,
                "organization_id": self.wanted.organization_id,
            },
            "rows": [row._asdict() for row in self.rows],
            "left": self.faults,
            "unreadable_states": self.unreadable_states,
            "undecided": self.undecided,
            "unknown_address": self.unknown_address,
            "dead_letters": self.dead_letters,
            "places": [{**asdict(place), "until": place.until and place.until.isoformat()} for place in self.places],
        }


@dataclass(frozen=True, slots=True)
class Former:
    """The report to be verified: when, which rows, and how much each place had."""

    at: datetime
    wanted: Wanted
    rows: list[Row]
    was: dict[str, int | None]

    @staticmethod
    def read(file: Path, contact: str | None) -> "Former":
        """Read the report of a finished erasure; `contact` is the address, which it does not hold.

        Raises EraseError.
        """
        try:
            content = json.loads(file.read_bytes())
            asked = content["wanted"]
            if not content["done"]:
                raise EraseError(f"{file} is a plan: verify the report of --execute --json")
            if contact is not None and not asked["contact"]:
                raise EraseError(f"{file} is not about a contact")
            wanted = Wanted(
                frozenset(asked["messages"]),
                frozenset(asked["conversations"]),
                contact,
                asked["service"],
                asked["organization_id"],
            )
            if asked["contact"] and contact is None:
                # Without the address it would be taken for the erasure of a whole organization.
                wanted = Wanted(wanted.messages, wanted.conversations)
            rows = [Row(**row) for row in content["rows"]]
            was = {place["name"]: place["was"] for place in content["places"]}
            return Former(datetime.fromisoformat(content["at"]), wanted, rows, was)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise EraseError(
                f"{file} is not a report of `bridge erase --execute --json`: {type(error).__name__}"
            ) from None


def show(report: Report, console: Console, *, as_json: bool) -> None:
    """Print a report, for people or as one line of JSON."""
    if as_json:
        print(printable(json.dumps(report.content(), ensure_ascii=False)))  # noqa: T201 the command's output
        return
    if report.verified:
        console.print(Text(f"{len(report.rows)} rows were erased; this is what is there of them now", "bold"))
    else:
        verb = "were deleted" if report.done else "would be deleted: --execute does it"
        console.print(Text(f"{len(report.rows)} rows {verb}", "bold"))
        for row in report.rows[:_MOST_ROWS]:
            known = "" if row.found else " (the states do not have it)"
            console.print(Text(printable(f"  {row.entity} {row.id}{known}")))
        if len(report.rows) > _MOST_ROWS:
            console.print(f"  and {len(report.rows) - _MOST_ROWS} more: --json has all")
    _warn(report, console)
    for text in report.faults:
        console.print(Text(printable(f"LEFT  {text}"), "bold red"))
    console.print()
    console.print(_table(report.places))
    if report.dead_letters:
        console.print("do not redrive these: what they have would be in the topics again, beyond the dates above")
    for letter in report.dead_letters:
        console.print(f"dead letter {letter}")
    if report.verified:
        console.print()
        console.print(Text("not verified" if report.faults else "verified: what is left has a date", "bold"))


def _warn(report: Report, console: Console) -> None:
    """Print warnings about what the report does not show."""
    if report.unknown_address:
        text = (
            "nothing has this address, nor had the suppression list: is it spelled as `contact_address` in the views, "
            "+ and all?"
        )
        console.print(Text(text, "bold yellow"))
    if report.unreadable_states:
        text = f"{report.unreadable_states} state records cannot be read: whose they are is not known"
        console.print(Text(text, "bold red"))
    if report.undecided:
        text = (
            f"{report.undecided} events stay in the spools: they do not say whose they are (an update with nothing"
            " but an id, a row of contacts), and only Kafka does"
        )
        console.print(Text(text, "bold yellow"))


def _table(places: list[Place]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("place", "was", "gone", "what is left", "gone by", ""):
        table.add_column(column, overflow="fold")
    for place in places:
        until = "no date" if place.until is None else f"{place.until:%Y-%m-%d %H:%M}Z"
        counts = ("?" if number is None else f"{number:,}" for number in (place.was, place.gone))
        table.add_row(place.name, *counts, place.left, until, place.condition)
    return table
