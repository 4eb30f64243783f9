"""`bridge up`: from nothing to a running stack, and back."""

import json
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from openbsp.local.process import LogSink
from openbsp.up.console import Console
from openbsp.up.environment import localize
from openbsp.up.interrupts import Interrupts
from openbsp.up.page import page_link
from openbsp.up.stack import Ports, Stack
from openbsp.up.supervisor import Supervisor
from openbsp.up.token import StackToken


@contextmanager
def open_stack(data: Path | None, ports: Ports, on_log: LogSink | None = None) -> Iterator[tuple[Stack, str]]:
    """Yield a running stack and a token that it accepts: that of BRIDGE_TOKENS, else the one kept with the data.

    Changes the environment of this process to a local one. Without `data`, everything is gone at the end.
    """
    localize(os.environ)
    with tempfile.TemporaryDirectory(prefix="openbsp-") as temporary:
        directory = data or Path(temporary)
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        given = os.environ.get("BRIDGE_TOKENS")
        token = StackToken.of_tokens(given) if given else StackToken.kept_in(directory / "token")
        with Stack(directory, tokens=token.tokens, ports=ports, on_log=on_log) as stack:
            yield stack, token.token


def up(
    data: Path | None, ports: Ports, *, as_json: bool, restart: bool, verbose: bool, until_eof: bool = False
) -> None:
    """Run the stack until Ctrl-C or SIGTERM, or until standard input ends; print the addresses when it is ready."""
    console = Console(verbose=verbose)
    interrupts = Interrupts()
    with interrupts.interruptible():
        if until_eof:
            interrupts.at_end_of(sys.stdin.fileno())
        console.say("starting Kafka, the schema registry, the bridge and the streams worker")
        try:
            with open_stack(data, ports, console.log) as (stack, token):
                sys.stdout.write(_json(stack, token) if as_json else _text(stack, token))
                sys.stdout.flush()
                Supervisor(stack.parts, restart=restart, say=console.say).watch(interrupts.wait)
        finally:
            if interrupts.asked:
                console.say("stopped")


def _json(stack: Stack, token: str) -> str:
    return json.dumps({**asdict(stack.addresses), "token": token, "pids": stack.pids}) + "\n"


def _text(stack: Stack, token: str) -> str:
    lines = {**asdict(stack.addresses), "token": token, "page": page_link(stack.addresses.views, token)}
    return "".join(f"{name.replace('_', ' '):16} {value}\n" for name, value in lines.items())
