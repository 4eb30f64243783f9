"""`bridge erase --list` and `--lift`."""

import json
from dataclasses import asdict

from rich.console import Console
from rich.table import Table

from bridge.cluster import Cluster
from bridge.suppressions import topic
from bridge.suppressions.hashes import Contact
from openbsp.terminal import printable


def lift(cluster: Cluster, key: bytes | None, contact: Contact) -> str | None:
    """Lift a contact's suppression; return why not, None if it was done."""
    if key is None:
        return "there is no suppression list: BRIDGE_SUPPRESSION_KEY is not set"
    if topic.lift(cluster, key, contact):
        return None
    return (
        "this contact is not on the suppression list: --service and --organization have to be as they were given when "
        "it was erased, and the key the same"
    )


def show(cluster: Cluster, console: Console, *, as_json: bool) -> None:
    """Print the list. Only the key and the address identify an entry's person."""
    found = topic.entries(cluster)
    if as_json:
        for entry in found:
            print(printable(json.dumps(asdict(entry))))  # noqa: T201 the command's output
        return
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in ("contact (hash)", "since", "service", "organization"):
        table.add_column(column, overflow="fold")
    for entry in found:
        table.add_row(entry.hash[:16], entry.since, entry.service or "any", entry.organization_id or "any")
    console.print(table if found else "no contact is suppressed")
