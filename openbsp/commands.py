"""Command lines that behave alike: options, messages, exit codes."""

import contextlib
import logging
import os
import signal
import sys
from collections.abc import Iterator
from enum import IntEnum
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from openbsp.settings import ConfigurationError, describe

if TYPE_CHECKING:
    from pydantic_settings import BaseSettings

DISTRIBUTION = "openbsp-stream-bridge"


class ExitCode(IntEnum):
    """The outcome of a command or a serving process."""

    OK = 0
    #: It failed, or did not start: a restart would fail the same way.
    NOT_STARTED = 1
    #: It was called or configured in a way that cannot work.
    MISUSE = 2
    #: It served, and then a part of it failed; a restart helps.
    FAILED = 3


def new_app(name: str, about: str) -> typer.Typer:
    """Return a command line with `--version`."""
    app = typer.Typer(
        help=about, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None
    )

    def print_version(asked: bool) -> None:  # noqa: FBT001 the signature of an option's callback
        if asked:
            typer.echo(f"{name} {version(DISTRIBUTION)}")
            raise typer.Exit

    @app.callback(help=about, epilog=f"Settings come from the environment: `{name} settings` lists them.")
    def _options(
        *,
        version: Annotated[
            bool, typer.Option("--version", callback=print_version, is_eager=True, help="Print the version.")
        ] = False,
    ) -> None: ...

    return app


def run(name: str, app: typer.Typer, *errors: type[Exception]) -> None:
    """Run a command line and end the process; see `failures_told`."""
    with failures_told(name, *errors):
        app()


@contextlib.contextmanager
def failures_told(name: str, *errors: type[Exception]) -> Iterator[None]:
    """End the process if the block fails (see ExitCode).

    Of `errors`, and the operating system's, only the message is shown: no directory can be made, a disk is full.
    """
    try:
        yield
    except ConfigurationError as error:
        complain(name, f"{error}\nall settings: {name} settings")
        sys.exit(ExitCode.MISUSE)
    except (OSError, *errors) as error:  # type: ignore[misc] # these are classes of exceptions
        complain(name, str(error))
        sys.exit(ExitCode.NOT_STARTED)


def complain(name: str, text: str) -> None:
    """Print to standard error why a command fails."""
    typer.secho(f"{name}: {text}", fg=typer.colors.RED, err=True)


def print_settings(*classes: "type[BaseSettings]") -> None:
    """List variables of the environment, their defaults and what they mean."""
    for setting in describe(*classes):
        typer.echo(f"{setting.variable} ({setting.type}; {setting.default})\n    {setting.description}")


def leave(code: int) -> NoReturn:
    """End the process at once, when everything is closed. Logged and printed lines are written.

    Trap: threads that wait in a client library for a dead server (`openbsp.threads`) lose the interpreter in the middle
    of their call while it is finalized, and now and then the process dies of a segmentation fault instead.
    """
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # the reader is gone
            stream.flush()
    os._exit(code)


def ignore_hangups() -> None:
    """Ignore SIGHUP until there is something to reload: by default the signal ends a process that starts."""
    signal.signal(signal.SIGHUP, signal.SIG_IGN)


def end_when_asked() -> None:
    """Exit gracefully on SIGTERM and SIGINT, until there is something to shut down first.

    By default they would end the process with their own status; as the first process of a container it would even
    ignore SIGTERM.
    """
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(ExitCode.OK))
