"""A report is read again as it was written, and holds no address."""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from rich.console import Console

from bridge import cli
from bridge.erase.errors import EraseError
from bridge.erase.find import Row, Wanted
from bridge.erase.places import Place
from bridge.erase.report import Former, Report, show

AT = datetime(2026, 11, 26, 3, 0, tzinfo=UTC)
ROWS = [Row("messages", "m1", "o1", "c1", "wamid.1"), Row("messages", "m9", None, found=False)]


def report(wanted: Wanted, *, done: bool = True, **changes: object) -> Report:
    places = [Place("message-state", 3, 1, "2 former records", AT)]
    return Report(AT, wanted, ROWS, places, done=done, **changes)  # type: ignore[arg-type]


def written(directory: Path, wanted: Wanted, *, done: bool = True) -> Path:
    file = directory / "report.json"
    file.write_text(json.dumps(report(wanted, done=done).content()))
    return file


def test_it_is_read_again_without_the_address_or_with_the_one_that_is_given(tmp_path):
    file = written(tmp_path, Wanted(contact="+100", service="whatsapp", organization_id="o1"))
    assert "+100" not in file.read_text()
    assert Former.read(file, "+100") == Former(
        AT, Wanted(contact="+100", service="whatsapp", organization_id="o1"), ROWS, {"message-state": 3}
    )
    without = Former.read(file, None)
    assert without.rows == ROWS
    assert without.wanted.organization is None, "one contact of an organization is not all of it"


def test_an_organization_is_read_again(tmp_path):
    assert Former.read(written(tmp_path, Wanted(organization_id="o1")), None).wanted.organization == "o1"


def test_what_is_no_report_of_an_erasure_is_refused(tmp_path):
    with pytest.raises(EraseError, match="is a plan"):
        Former.read(written(tmp_path, Wanted(organization_id="o1"), done=False), None)
    with pytest.raises(EraseError, match="not about a contact"):
        Former.read(written(tmp_path, Wanted(organization_id="o1")), "+100")
    for text in ("{}", "[", '{"done": true}'):
        (tmp_path / "other").write_text(text)
        with pytest.raises(EraseError, match="not a report"):
            Former.read(tmp_path / "other", None)


def test_it_is_well_if_nothing_is_where_it_should_not_be():
    wanted = Wanted(organization_id="o1")
    assert report(wanted).well
    assert not report(wanted, left=["messages m1: no tombstone in the state topic"]).well
    assert not report(wanted, unreadable_states=1).well
    faulty = report(wanted)
    faulty.places = [Place("messages", 1, 0, "1 record", None, fault="overdue")]
    assert not faulty.well
    assert faulty.content()["left"] == ["messages: overdue"]
    assert report(wanted, done=False, left=["anything"]).well, "a plan is a plan"


@pytest.mark.parametrize("unknown", [True, False])
def test_that_nothing_has_an_address_is_said(capsys, unknown: bool):  # noqa: FBT001 a case
    """It may be written otherwise than it was given."""
    made = Report(AT, Wanted(contact="100"), [], [], unknown_address=unknown, done=True)
    show(made, Console(width=200), as_json=False)
    assert ("nothing has this address" in capsys.readouterr().out) is unknown
    assert made.content()["unknown_address"] is unknown


@pytest.mark.parametrize("letters", [[], ["openbsp.dead-letters:0:7"]])
def test_that_its_dead_letters_are_not_to_be_redriven_is_said(capsys, letters: list[str]):
    show(report(Wanted(organization_id="o1"), dead_letters=letters), Console(width=200), as_json=False)
    printed = capsys.readouterr().out
    assert all(f"dead letter {letter}" in printed for letter in letters)
    assert ("do not redrive these" in printed) is bool(letters)


@pytest.mark.parametrize("address", ["", " ", " +100", "+100\n"])
def test_an_address_that_none_can_be_is_refused(monkeypatch, capsys, address: str):
    """As that of a variable that is not set: nothing would be found, and all would seem well."""
    monkeypatch.setattr(sys, "argv", ["bridge", "erase", "--contact", address, "--execute"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert "--contact is empty" in " ".join(capsys.readouterr().err.split())
