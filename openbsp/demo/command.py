"""`bridge demo`: start the stack, post the payloads, show and check the results."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import Any, TypeVar, cast

import httpx
from rich.console import Console

from openbsp.console import make_console
from openbsp.demo import ghost, show
from openbsp.demo.checks import Check, Found, checks
from openbsp.demo.payloads import Expected, documented_payloads, expected
from openbsp.demo.records import RecordReader
from openbsp.kafka.connection import TopicSettings
from openbsp.send import Answer, Payload, send
from openbsp.settings import load
from openbsp.up.command import open_stack
from openbsp.up.interrupts import Interrupts
from openbsp.up.page import page_link
from openbsp.up.stack import Addresses, Ports
from openbsp.up.supervisor import Supervisor
from openbsp.waiting import wait_until

T = TypeVar("T")

_RESULT_S = 30.0
_POLL_S = 0.1
_VIEW_S = 5.0
_INTERRUPTED = 130


def demo(ports: Ports, *, stay: bool) -> int:
    """Run the demo; return 0 if everything expected was there, else 1. With `stay`, go on running until Ctrl-C."""
    console = make_console()
    payloads, outcome = documented_payloads(), expected()
    interrupts = Interrupts()
    status = _INTERRUPTED
    with interrupts.interruptible():
        console.print("Starting Kafka, a schema registry, the bridge and the streams worker ...")
        with open_stack(None, ports) as (stack, token):
            missing = _present(console, stack.addresses, token, payloads, outcome)
            status = 1 if missing else 0
            if stay:
                _invite(console, stack.addresses, token, outcome)
                Supervisor(stack.parts, restart=True, say=console.print).watch(interrupts.wait)
    return status


def _present(
    console: Console, addresses: Addresses, token: str, payloads: Sequence[Payload], outcome: Expected
) -> bool:
    """Post the payloads, show everything, and return whether anything is missing."""
    answers = asyncio.run(_send(payloads, addresses.bridge, token))
    show.show_answers(console, answers)
    found = _wait_for_result(answers, addresses, token, outcome)
    for topic, records in found.records.items():
        show.show_records(console, topic, records)
    show.show_view(console, _view_url(addresses, outcome), found.view)
    results = checks(found, outcome)
    show.show_checks(console, results)
    return any(check.faults for check in [*results, *_present_ghost(console, addresses, token)])


def _present_ghost(console: Console, addresses: Addresses, token: str) -> list[Check]:
    """Post two rows that are one message, show the result, and return the checks."""

    def look() -> ghost.Seen:
        real, other = (_get(addresses, f"/messages/{key}", token) for key in (ghost.REAL_ID, ghost.GHOST_ID))
        chat = _get(addresses, f"/conversations/{ghost.CONVERSATION_ID}", token)
        return ghost.Seen(answers, real.status_code, other.status_code, chat.json() if chat.is_success else None)

    console.print(
        "\nA receipt overtakes the answer to the sending: OpenBSP has two rows for one message, for a moment."
    )
    answers = asyncio.run(_send(ghost.TWO_ROWS, addresses.bridge, token))
    show.show_answers(console, answers)
    before = ghost.before(_until_complete(look, ghost.before))
    show.show_checks(console, before)
    console.print("\nThe first row learns the id of the receipt. The deletion of the second one sends no webhook.")
    answers = asyncio.run(_send(ghost.ONE_ROW, addresses.bridge, token))
    show.show_answers(console, answers)
    (topics,) = load(TopicSettings)
    with RecordReader(addresses.kafka, addresses.schema_registry, topics.prefix) as reader:

        def look_at_all() -> ghost.Seen:
            reader.read_to_end()
            return look()

        def compare(seen: ghost.Seen) -> list[Check]:
            return ghost.after(seen, reader.records["message-state"])

        after = compare(_until_complete(look_at_all, compare))
    show.show_checks(console, after)
    return [*before, *after]


def _until_complete(look: Callable[[], T], compare: Callable[[T], list[Check]]) -> T:
    """Return the results once nothing is missing, or after `_RESULT_S` seconds."""
    seen: list[T] = []

    def is_complete() -> bool:
        seen[:] = [look()]
        return not any(check.faults for check in compare(seen[0]))

    wait_until(is_complete, patience_s=_RESULT_S, every_s=_POLL_S)
    return seen[0]


async def _send(payloads: Sequence[Payload], url: str, token: str) -> list[Answer]:
    return [answer async for answer in send(payloads, url, token)]


def _wait_for_result(answers: Sequence[Answer], addresses: Addresses, token: str, outcome: Expected) -> Found:
    """Return the results once nothing is missing, or when waiting ends."""
    (topics,) = load(TopicSettings)
    with RecordReader(addresses.kafka, addresses.schema_registry, topics.prefix) as reader:

        def look() -> Found:
            view = _view(addresses, token, outcome)
            reader.read_to_end()
            return Found(answers, reader.records, view)

        return _until_complete(look, lambda found: checks(found, outcome))


def _view_url(addresses: Addresses, outcome: Expected) -> str:
    return f"{addresses.views}{_path(outcome)}"


def _path(outcome: Expected) -> str:
    return f"/conversations/{outcome.conversation['id']}"


def _view(addresses: Addresses, token: str, outcome: Expected) -> dict[str, Any] | None:
    response = _get(addresses, _path(outcome), token)
    return cast("dict[str, Any]", response.json()) if response.is_success else None


def _get(addresses: Addresses, path: str, token: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(addresses.views + path, headers=headers, timeout=_VIEW_S, trust_env=False)


def _invite(console: Console, addresses: Addresses, token: str, outcome: Expected) -> None:
    for name, value in asdict(addresses).items():
        console.print(f"{name.replace('_', ' '):16} {value}", soft_wrap=True)
    console.print(f"{'token':16} {token}", soft_wrap=True)
    console.print(f"{'page':16} {page_link(addresses.views, token)}\n", soft_wrap=True)
    console.print("Ask for the conversation, or send an event again:", style="bold")
    authorization = f"-H 'Authorization: Bearer {token}'"
    console.print(f"  curl {authorization} {_view_url(addresses, outcome)}", soft_wrap=True)
    console.print(
        f"  curl {authorization} -H 'Content-Type: application/json'"
        f" --data @examples/payloads/{documented_payloads()[-1].name} {addresses.bridge}/webhooks",
        soft_wrap=True,
    )
    console.print("Ctrl-C stops everything.")
