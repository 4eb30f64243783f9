"""The documented payloads of the checkout."""

from pathlib import Path

from openbsp.send import Payload

DIRECTORY = Path(__file__).parents[2] / "examples" / "payloads"

CONVERSATION_ID = "c9e2f1a3-8b7d-4e5f-a123-456789abcdef"
INCOMING_ID = "a4a8f56f-4570-47e2-bc2a-2f0d7db288b1"
OUTGOING_ID = "b5b9f67g-5681-58f3-cd3b-3g1e8ec399c2"


def documented_payloads() -> list[Payload]:
    """Return the five, in the order of their names. FileNotFoundError where there is no checkout."""
    files = sorted(DIRECTORY.glob("*.json"))
    if not files:
        raise FileNotFoundError(f"the demo needs the files of a checkout: no payloads in {DIRECTORY}")
    return [Payload(file.name, file.read_bytes()) for file in files]
