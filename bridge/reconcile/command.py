"""`bridge reconcile`: assembles the parts for a run."""

import sqlite3
from contextlib import ExitStack
from dataclasses import dataclass
from urllib.parse import urlsplit

import typer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from avro import jsontext
from bridge.reconcile.audit_topic import keep
from bridge.reconcile.console import Console
from bridge.reconcile.continuous import run_every
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.index import Index
from bridge.reconcile.poster import Poster
from bridge.reconcile.report import Report, text
from bridge.reconcile.run import Options, Run, Watcher
from bridge.reconcile.settings import ReconcileSettings
from bridge.reconcile.signing import load_key, sign
from bridge.reconcile.source import Source
from bridge.reconcile.states import States
from bridge.sender.platform import Platform
from bridge.sender.settings import OpenBspSettings
from openbsp.commands import ExitCode
from openbsp.kafka.connection import KafkaSettings, RegistrySettings, TopicSettings
from openbsp.terminal import printable


@dataclass(frozen=True, slots=True)
class Request:
    """The options of the command line."""

    organizations: tuple[str, ...]
    since: int | None
    dry_run: bool
    deletes: bool
    allow_deletes: bool
    as_json: bool
    orphans: bool = False

    @property
    def options(self) -> Options:
        """What the run covers."""
        return Options(
            self.organizations, self.since, self.dry_run, self.deletes, self.allow_deletes, orphans=self.orphans
        )


@dataclass(frozen=True, slots=True)
class Environment:
    """The settings of all parts."""

    settings: ReconcileSettings
    openbsp: OpenBspSettings
    kafka: KafkaSettings
    registry: RegistrySettings
    topics: TopicSettings


def reconcile(request: Request, environment: Environment, every_s: int | None = None) -> ExitCode:
    """Run once and print the report, or run every so many seconds.

    Raises PlatformError, ReconcileError, and what the contract's clients raise.
    """
    settings = environment.settings
    key = None if settings.signing_key_file is None else load_key(settings.signing_key_file)
    with Console(differences=request.dry_run and not request.as_json) as console, Index(settings.dir) as index:
        if every_s is not None:

            def run() -> Report:
                report = once(request.options, environment, index, console)
                report.every_s = every_s
                return _kept(report, key, environment)

            return run_every(every_s, settings, run)
        report = once(request.options, environment, index, console)
    content = report.content()
    if request.as_json:
        typer.echo(printable(jsontext.encode_text(content)))
    else:
        for line in text(content):
            typer.echo(printable(line))
        if key is None:
            typer.echo("this report is not kept: RECONCILE_SIGNING_KEY_FILE is not set")
    # Last, as a report that cannot be stored must be printed all the same.
    _kept(report, key, environment)
    return ExitCode.OK if report.well else ExitCode.NOT_STARTED


def _kept(report: Report, key: Ed25519PrivateKey | None, environment: Environment) -> Report:
    """Sign a report and write it to the topic of audits, if there is a key. Raises ReconcileError."""
    if key is not None:
        keep(sign(report.content(), key), environment.kafka, environment.topics)
    return report


def once(options: Options, environment: Environment, index: Index, watcher: Watcher) -> Report:
    """Run once, with connections of its own."""
    try:
        with ExitStack() as stack:
            return _assembled(stack, options, environment, index, watcher).run()
    except sqlite3.Error as error:
        directory = environment.settings.dir
        raise ReconcileError(f"the index in {directory} cannot be used: {error}; see RECONCILE_DIR") from None


def _assembled(stack: ExitStack, options: Options, environment: Environment, index: Index, watcher: Watcher) -> Run:
    settings = environment.settings
    platform = stack.enter_context(Platform(environment.openbsp))
    poster = None
    if not options.dry_run:
        if settings.bridge_token is None:
            raise ReconcileError("repairs are posted to the bridge: set RECONCILE_BRIDGE_TOKEN, or use --dry-run")
        token = settings.bridge_token.get_secret_value()
        poster = stack.enter_context(Poster(settings.bridge_url, token, patience_s=settings.patience_s))
    # Trap: this writes to the index.
    states = stack.enter_context(
        States(environment.kafka, environment.registry, environment.topics, index, settings.compared)
    )
    source = Source(
        platform,
        requests_per_s=settings.requests_per_s,
        patience_s=settings.patience_s,
        page_rows=settings.page_rows,
    )
    address = urlsplit(environment.openbsp.url or "").netloc
    return Run(source, states, index, poster, settings=settings, options=options, watcher=watcher, platform=address)
