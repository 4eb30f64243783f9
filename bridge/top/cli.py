"""`bridge top`: options and messages."""

import sys
import time
from typing import Annotated

import typer

from openbsp.commands import ExitCode

_BRIDGE = "http://127.0.0.1:8080"
_STREAMS = "http://127.0.0.1:8090"


def top(
    *,
    bridge: Annotated[
        list[str] | None,
        typer.Option(metavar="URL", help=f"Base address of a bridge, {_BRIDGE} unless given; may be repeated."),
    ] = None,
    streams: Annotated[
        list[str] | None,
        typer.Option(
            metavar="URL", help=f"Base address of a streams worker, {_STREAMS} unless given; may be repeated."
        ),
    ] = None,
    bridge_token: Annotated[
        str | None, typer.Option(envvar="BRIDGE_METRICS_TOKEN", help="Token for the bridges' metrics.")
    ] = None,
    streams_token: Annotated[
        str | None, typer.Option(envvar="STREAMS_METRICS_TOKEN", help="Token for the workers' metrics.")
    ] = None,
    every: Annotated[float, typer.Option(min=0.2, max=600, metavar="SECONDS", help="How often to look.")] = 2.0,
    once: Annotated[bool, typer.Option("--once", help="Look twice, print one screen and end.")] = False,
) -> None:
    """Show rates, answer times, spool, lag, dead letters and what hinders, until Ctrl-C.

    Where standard output is no terminal, as with --once. Its exit code is 1 unless all processes answer and are ready.
    """
    import httpx

    from bridge.top.top import Target, Top, watch
    from bridge.top.top import once as look_once
    from openbsp.console import make_console
    from openbsp.up.interrupts import Interrupts

    for url in (*(bridge or ()), *(streams or ())):
        if not url.startswith(("http://", "https://")):
            raise typer.BadParameter(f"{url!r} is no such address as {_BRIDGE}")
    console = make_console(file_width=180)
    bridges = [Target(url, bridge_token) for url in bridge or [_BRIDGE]]
    workers = [Target(url, streams_token) for url in streams or [_STREAMS]]
    try:
        looking = Top(bridges, workers)
    except httpx.InvalidURL as error:
        raise typer.BadParameter(f"there is no such address: {error}") from None
    with Interrupts().interruptible(), looking as seen:
        if not once and console.is_terminal:
            watch(seen, console, lambda: time.sleep(every))
        elif not look_once(seen, console, lambda: time.sleep(every)):
            sys.exit(ExitCode.NOT_STARTED)
