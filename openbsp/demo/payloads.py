"""The documented payloads of the checkout, and what they lead to."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openbsp.send import Payload

_EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True, slots=True)
class Expected:
    """What the five lead to: the conversation and its messages as in their states, and the status changes.

    Instants are texts.
    """

    conversation: Mapping[str, Any]
    messages: Sequence[Mapping[str, Any]]
    status_changes: Sequence[Mapping[str, Any]]


def documented_payloads() -> list[Payload]:
    """Return the five, in the order of their names. FileNotFoundError where there is no checkout."""
    directory = _EXAMPLES / "payloads"
    files = sorted(directory.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"the demo needs the files of a checkout: no payloads in {directory}")
    return [Payload(file.name, file.read_bytes()) for file in files]


def expected() -> Expected:
    """Return what they lead to."""
    return Expected(**json.loads((_EXAMPLES / "expected.json").read_text("utf-8")))
