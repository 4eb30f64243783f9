"""`bridge audit`: shows and verifies the signed reports of former runs."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import typer

from bridge.reconcile import audit_topic, signing
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.report import text
from bridge.reconcile.signing import Audit
from openbsp.commands import ExitCode, complain
from openbsp.kafka.connection import KafkaSettings, TopicSettings
from openbsp.terminal import printable


def show(kafka: KafkaSettings, topics: TopicSettings, run: str | None, last: int, *, as_json: bool) -> ExitCode:
    """Print the latest audits, oldest first, or those of a run; report invalid records."""
    found: list[Audit] = []
    for place, told in audit_topic.read(kafka, topics):
        try:
            found.append(signing.decode(told))
        except ReconcileError as error:
            complain("bridge", f"{place}: {error}")
    found.sort(key=lambda audit: str(audit.report.get("began_at")))
    chosen = found[-last:] if run is None else [audit for audit in found if _run(audit).startswith(run)]
    for audit in chosen:
        if as_json:
            typer.echo(audit.encode())
            continue
        typer.echo(f"signed with {audit.key}")
        for line in _lines(audit):
            typer.echo(printable(f"  {line}"))
    if not chosen:
        typer.echo(
            "no such run"
            if run is not None
            else "no audits yet: `bridge reconcile` keeps one if RECONCILE_SIGNING_KEY_FILE is set"
        )
    return ExitCode.OK if chosen or run is None else ExitCode.NOT_STARTED


def verify(
    kafka: KafkaSettings, topics: TopicSettings, files: list[Path], words: list[str], key_file: Path | None
) -> ExitCode:
    """Report of each audit whether it is signed and unchanged. Raises ReconcileError if no key is given."""
    keys = [signing.read_public(word) for word in words]
    if not keys:
        if key_file is None:
            raise ReconcileError("no public key to verify with: give --key, or set RECONCILE_SIGNING_KEY_FILE")
        keys = [signing.load_key(key_file).public_key()]
    good = faults = 0
    for place, told in _of_files(files) if files else audit_topic.read(kafka, topics):
        try:
            audit = signing.decode(told)
            where, fault = _run(audit), signing.fault(audit, keys)
        except ReconcileError as error:
            where, fault = place, str(error)
        if fault is None:
            good += 1
        else:
            faults += 1
            typer.echo(printable(f"wrong    {where}: {fault}"))
    typer.echo(f"{good} of {good + faults} audits are signed and unchanged")
    # An empty file is no evidence: it may be another one, or truncated.
    return ExitCode.OK if good and not faults else ExitCode.NOT_STARTED


def _of_files(files: Iterable[Path]) -> Iterator[tuple[str, bytes]]:
    for file in files:
        for number, line in enumerate(file.read_bytes().splitlines(), 1):
            if line.strip():
                yield f"{file}:{number}", line


def _lines(audit: Audit) -> Iterator[str]:
    """Yield the lines of a report, which anybody with write access to the topic may have written."""
    try:
        yield from text(audit.report)
    except (KeyError, TypeError, ValueError):
        yield "the rest does not have the form of a report: --json prints it"


def _run(audit: Audit) -> str:
    return str(audit.report.get("run"))
