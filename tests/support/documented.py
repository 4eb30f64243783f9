"""The five documented events, and what they must lead to. Imports nothing of the project."""

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

_EXAMPLES = Path(__file__).parents[2] / "examples"
_FILES = sorted((_EXAMPLES / "payloads").glob("*.json"))
#: The one place that says what the five lead to.
_EXPECTED = (_EXAMPLES / "expected.json").read_text("utf-8")
_CONVERSATION = json.loads(_EXPECTED)["conversation"]["id"]
_INCOMING, _OUTGOING = (message["id"] for message in json.loads(_EXPECTED)["messages"])


@dataclass
class DocumentedEvents:
    """The events with ids that nobody else has, so that many tests can share the topics of one stack."""

    suffix: str = field(default_factory=lambda: f"-{secrets.token_hex(4)}")

    @property
    def incoming(self) -> str:
        return _INCOMING + self.suffix

    @property
    def outgoing(self) -> str:
        return _OUTGOING + self.suffix

    @property
    def conversation(self) -> str:
        return _CONVERSATION + self.suffix

    @property
    def bodies(self) -> list[bytes]:
        """Return the five, in the order of the documentation."""
        return [self._own(file.read_text("utf-8")).encode() for file in _FILES]

    def _own(self, text: str) -> str:
        for original in (_INCOMING, _OUTGOING, _CONVERSATION):
            text = text.replace(original, original + self.suffix)
        return text

    @property
    def expected(self) -> dict[str, Any]:
        """Return what they lead to, see `examples/expected.json`."""
        return json.loads(self._own(_EXPECTED))

    @property
    def status_changes(self) -> set[tuple[str, str]]:
        """Return message id and status of each change."""
        return {(change["message_id"], change["status"]) for change in self.expected["status_changes"]}

    def contradictions(self, state: Mapping[str, Any]) -> dict[str, Any]:
        """Return the fields of a conversation's state, or view, that are not what the five events add up to."""
        return {
            name: state[name] for name, value in self.expected["conversation"].items() if _plain(state[name]) != value
        }


def _plain(value: Any) -> Any:
    """Return a value with texts for instants, as the views write them."""
    if isinstance(value, Mapping):
        return {name: _plain(member) for name, member in value.items()}
    return value.isoformat().replace("+00:00", "Z") if isinstance(value, datetime) else value
