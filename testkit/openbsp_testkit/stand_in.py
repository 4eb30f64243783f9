"""A stand-in of a whole OpenBSP, to try a bridge with: its REST API, and webhooks to registered addresses.

    python -m openbsp_testkit.stand_in --port 14010

A customer writes, is answered and reads it, repeatedly; each row goes to the addresses in the table `webhooks`, once,
as OpenBSP sends it. It accepts any key, and has one organization, `acme`.
"""

from __future__ import annotations

import argparse
import signal
import threading
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from openbsp_testkit.postgrest import Postgrest
from openbsp_testkit.rows import Organization, Webhook

if TYPE_CHECKING:
    from collections.abc import Iterator

ORGANIZATION = "acme"
#: The tables with webhooks, and the one of their registrations.
TABLES = ("messages", "conversations", "contacts", "contacts_addresses", "webhooks")
_TIMEOUT_S = 5
#: OpenBSP uses no proxy, and a proxy does not reach this machine.
_open = urllib.request.build_opener(urllib.request.ProxyHandler({})).open
#: As many as OpenBSP's trigger calls.
_MOST_RECEIVERS = 3


def history(organization: Organization) -> Iterator[Webhook]:
    """Yield events, endlessly."""
    while True:
        conversation = organization.conversation(organization_id=ORGANIZATION)
        yield conversation.insert
        person = organization.contact(organization.new_text(), organization_id=ORGANIZATION)
        yield person.insert
        yield person.at(conversation, organization_id=ORGANIZATION).insert
        for _ in range(10):
            yield conversation.incoming(organization_id=ORGANIZATION).insert
            reply = conversation.outgoing(organization_id=ORGANIZATION)
            yield reply.insert
            yield from (reply.receipt(status) for status in ("sent", "delivered", "read"))


class StandIn:
    """Keeps rows, and sends their webhooks."""

    def __init__(self, platform: Postgrest) -> None:
        """Start without rows."""
        self._platform = platform

    def happen(self, webhook: Webhook) -> list[str]:
        """Write a row and post it to the registered addresses; return each answer, in words."""
        row = dict(webhook.data)
        self._platform.put(webhook.entity, **row)
        return [self._post(webhook, to) for to in self._receivers(webhook)]

    def _receivers(self, webhook: Webhook) -> list[dict[str, Any]]:
        rows = (row for row in self._platform.rows("webhooks") if row.get("table_name") == webhook.entity)
        of_it = [row for row in rows if row.get("organization_id") == ORGANIZATION][:_MOST_RECEIVERS]
        return [row for row in of_it if webhook.action in (row.get("operations") or ())]

    def _post(self, webhook: Webhook, to: dict[str, Any]) -> str:
        headers = {"Content-Type": "application/json", "User-Agent": "pg_net/0.14.0"}
        if to.get("token"):
            headers["Authorization"] = f"Bearer {to['token']}"
        what = f"{webhook.action} of {webhook.entity} to {to['url']}"
        try:
            request = urllib.request.Request(str(to["url"]), webhook.body, headers, method="POST")  # noqa: S310 whoever registers chooses
            with _open(request, timeout=_TIMEOUT_S) as answer:
                return f"{what}: {answer.status}"
        except urllib.error.HTTPError as error:
            return f"{what}: {error.code}"
        except (OSError, ValueError) as error:
            return f"{what}: {error}"


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 the program's output


def main() -> None:
    """Serve until it is interrupted."""
    parser = argparse.ArgumentParser(prog="python -m openbsp_testkit.stand_in", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1 for the REST API; 0 takes a free one")
    parser.add_argument("--every", type=float, default=1.0, metavar="SECONDS", help="time from one event to the next")
    arguments = parser.parse_args()
    try:
        platform = Postgrest(TABLES, address=("127.0.0.1", arguments.port))
    except (OSError, OverflowError) as error:
        parser.exit(1, f"port {arguments.port} of 127.0.0.1 cannot be had: {error}\n")
    threading.Thread(target=platform.serve_forever, daemon=True).start()
    _say(f"OpenBSP's stand-in is at {platform.url}; its organization is {ORGANIZATION}")
    stand_in, stopping = StandIn(platform), threading.Event()
    # Trap: a process started in the background of a script ignores SIGINT until it sets a handler.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stopping.set())
    for webhook in history(Organization()):
        for line in stand_in.happen(webhook):
            _say(line)
        if stopping.wait(arguments.every):
            break


if __name__ == "__main__":
    main()
