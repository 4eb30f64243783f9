"""`bridge audit`: shows and verifies the signed reports of former runs."""

from collections.abc import Iterable
from pathlib import Path

import typer

from bridge.reconcile import audits, signing
from bridge.reconcile.errors import ReconcileError
from bridge.reconcile.report import text
from bridge.reconcile.signing import Audit
from openbsp.commands import ExitCode
from openbsp.kafka.connection import KafkaSettings, TopicSettings


def show(kafka: KafkaSettings, topics: TopicSettings, run: str | None, last: int, *, as_json: bool) -> ExitCode:
    """Print the latest audits, oldest first, or those of a run. Raises ReconcileError."""
    found = sorted(audits.read(kafka, topics), key=lambda audit: str(audit.report.get("began_at")))
    chosen = found[-last:] if run is None else [audit for audit in found if _run(audit).startswith(run)]
    for audit in chosen:
        if as_json:
            typer.echo(audit.encode())
            continue
        typer.echo(f"signed with {audit.key}")
        for line in text(audit.report):
            typer.echo(f"  {line}")
    if not chosen:
        typer.echo("no such run" if run is not None else "no audits yet")
    return ExitCode.OK if chosen or run is None else ExitCode.NOT_STARTED


def verify(
    kafka: KafkaSettings, topics: TopicSettings, files: list[Path], words: list[str], key_file: Path | None
) -> ExitCode:
    """Say of each audit whether it is signed and unchanged. Raises ReconcileError."""
    keys = [signing.read_public(word) for word in words]
    if not keys:
        if key_file is None:
            raise ReconcileError("whose signatures count? Give --key, or set RECONCILE_SIGNING_KEY_FILE")
        keys = [signing.load_key(key_file).public_key()]
    good = faults = 0
    for audit in _of_files(files) if files else audits.read(kafka, topics):
        fault = signing.fault(audit, keys)
        if fault is None:
            good += 1
        else:
            faults += 1
            typer.echo(f"wrong    {_run(audit)}: {fault}")
    typer.echo(f"{good} of {good + faults} audits are signed and unchanged")
    return ExitCode.NOT_STARTED if faults else ExitCode.OK


def _of_files(files: Iterable[Path]) -> Iterable[Audit]:
    return (signing.decode(line) for file in files for line in file.read_bytes().splitlines() if line.strip())


def _run(audit: Audit) -> str:
    return str(audit.report.get("run"))
