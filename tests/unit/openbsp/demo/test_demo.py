"""The demo sees what is missing, and can be read in a file as on a terminal."""

import io
from datetime import UTC, datetime

import pytest
from rich.console import Console

from openbsp.console import make_console
from openbsp.demo import ghost, show
from openbsp.demo.checks import Found, checks
from openbsp.demo.payloads import documented_payloads, expected
from openbsp.demo.records import Record
from openbsp.send import Answer

EXPECTED = expected()
CONVERSATION = EXPECTED.conversation
CONVERSATION_ID = CONVERSATION["id"]
INCOMING_ID, OUTGOING_ID = (message["id"] for message in EXPECTED.messages)
CHANGES = [(change["message_id"], change["status"]) for change in EXPECTED.status_changes]


def decoded(value):
    """Return a value of the file as a topic's deserializer gives it: instants are datetimes."""
    if isinstance(value, dict):
        return {name: decoded(member) for name, member in value.items()}
    return datetime.fromisoformat(value) if str(value).endswith("Z") else value


def records(*keys_and_values):
    return [Record(0, offset, key, value) for offset, (key, value) in enumerate(keys_and_values)]


@pytest.fixture
def found():
    """Everything as it must be."""
    event = (None, {"id": "a"})
    return Found(
        [Answer("a.json", 202, "{}", 0.01)] * 5,
        {
            "messages": records(event, event, event),
            "conversations": records(event, event),
            "message-state": records((INCOMING_ID, {}), (OUTGOING_ID, {})),
            "conversation-state": records(
                (CONVERSATION_ID, {**CONVERSATION, "status": "open"}), (CONVERSATION_ID, decoded(CONVERSATION))
            ),
            "status-changes": records(
                *(
                    (CONVERSATION_ID, {"message_id": message, "status": status, "conversation_id": CONVERSATION_ID})
                    for message, status in [*CHANGES, CHANGES[0]]
                )
            ),
            "dead-letters": [],
        },
        CONVERSATION,
    )


def faults(found):
    return [fault for check in checks(found, EXPECTED) for fault in check.faults]


def test_nothing_is_missing_when_all_is_there(found):
    assert faults(found) == []


def test_everything_is_missing_when_nothing_is_there(found):
    empty = Found([Answer("a", None, "no answer", 5.0)], dict.fromkeys(found.records, ()), None)
    # An empty topic of dead letters is as it should be.
    assert [check.text for check in checks(empty, EXPECTED) if not check.faults] == ["dead-letters is empty"]


@pytest.mark.parametrize("name", [name for name in CONVERSATION if name != "id"])
def test_each_field_of_the_conversation_counts_in_topic_and_view(found, name):
    for changed in ({**CONVERSATION, name: "other"}, {key: CONVERSATION[key] for key in CONVERSATION if key != name}):
        state = records((CONVERSATION_ID, changed))
        assert faults(Found(found.answers, {**found.records, "conversation-state": state}, CONVERSATION))
        assert faults(Found(found.answers, found.records, changed))


@pytest.mark.parametrize("number", range(5))
def test_each_status_change_counts(found, number):
    lost = CHANGES[number]
    rest = [
        record
        for record in found.records["status-changes"]
        if (record.value["message_id"], record.value["status"]) != lost
    ]
    assert faults(Found(found.answers, {**found.records, "status-changes": rest}, found.view))


@pytest.mark.parametrize(
    ("real", "other", "count", "last"),
    [(404, 404, 1, None), (200, 200, 1, None), (200, 404, 2, None), (200, 404, 1, {}), (200, 404, 1, "no record")],
)
def test_a_ghost_that_stays_is_seen(real, other, count, last):
    answers = [Answer("a", 202, "{}", 0.01)]
    seen = ghost.Seen(answers, 200, 404, {"message_count": 1})
    told = (ghost.REAL_ID, {}), (ghost.GHOST_ID, {})
    gone = records(*told, (ghost.GHOST_ID, None))
    assert [fault for check in ghost.after(seen, gone) for fault in check.faults] == []
    states = records(*told[:1]) if last == "no record" else records(*told, (ghost.GHOST_ID, last))
    seen = ghost.Seen(answers, real, other, {"message_count": count})
    assert len([fault for check in ghost.after(seen, states) for fault in check.faults]) == 1


def test_the_payloads_are_the_five_documented_ones():
    assert [payload.name[0] for payload in documented_payloads()] == ["1", "2", "3", "4", "5"]


def show_all(console, found):
    show.show_answers(console, found.answers)
    for topic, of_topic in found.records.items():
        show.show_records(console, topic, of_topic)
    show.show_view(console, "http://127.0.0.1:1/conversations/c", found.view)
    show.show_checks(console, checks(found, EXPECTED))


def test_a_file_gets_no_control_codes(found, capsys):
    show_all(make_console(), found)
    text = capsys.readouterr().out
    assert "\x1b" not in text
    assert "status-changes: 6 records" in text
    assert "Hi! How can I help you today?" in text


def test_what_messages_contain_is_never_taken_for_markup():
    output = io.StringIO()
    console = make_console()
    console.file = output
    value = {
        "content": "[bold]x[/bold] [/nonsense]",
        "at": datetime(2026, 5, 6, tzinfo=UTC),
        "errors": [],
        "name": None,
    }
    show.show_records(console, "messages", records(("[red]key", value)))
    text = output.getvalue()
    assert "[bold]x[/bold] [/nonsense]" in text
    assert "[red]key" in text
    assert "2026-05-06 00:00:00+00:00" in text
    assert "errors" not in text
    assert "name" not in text


def test_what_is_missing_is_listed(found):
    output = io.StringIO()
    show.show_checks(
        Console(file=output), checks(Found(found.answers, found.records, {**CONVERSATION, "status": "open"}), EXPECTED)
    )
    assert "MISSING  the view shows the same conversation\n    status is 'open', not 'closed'\n" in output.getvalue()
