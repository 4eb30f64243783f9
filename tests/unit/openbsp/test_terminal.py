"""What comes from outside reaches a terminal only as text."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openbsp.terminal import printable, printable_bytes


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, é, 日本, \U0001f600", "plain, é, 日本, \U0001f600"),
        ("\x1b[2J", "\\u001b[2J"),
        ("one\ntwo\rthree\x00", "one\\u000atwo\\u000dthree\\u0000"),
        ("\x9b31m\x7f", "\\u009b31m\\u007f"),
        ("a\u202eb\u2066c\u2028d", "a\\u202eb\\u2066c\\u2028d"),
        ("\ud800", "\\ud800"),
    ],
)
def test_what_could_move_the_cursor_or_turn_the_text_is_escaped(text, shown):
    assert printable(text) == shown


@given(st.text())
def test_json_stays_json_of_the_same_meaning(text):
    assert json.loads(printable(json.dumps({"text": text}, ensure_ascii=False))) == {"text": text}


@given(st.binary(max_size=50), st.integers(0, 60))
def test_any_bytes_are_shown_and_what_is_left_out_is_said(data, most):
    shown = printable_bytes(data, most)
    assert shown.isprintable() or not any(ord(character) < 0x20 or ord(character) == 0x7F for character in shown)
    assert shown.endswith(f"... {len(data) - most} more bytes") == (len(data) > most)
