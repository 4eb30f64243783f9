"""`bridge token`: options and messages."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from openbsp.commands import ExitCode, complain
from openbsp.errors import TokensError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from openbsp.http.tokens.token_set import Token

#: Prefixes of the token variables, by service.
_SERVICES = ("BRIDGE", "STREAMS")


class _NewByDefault(TyperGroup):
    """`bridge token NAME` is `bridge token new NAME`, as it was before there were others."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands and not args[0].startswith("-"):
            args = ["new", *args]
        return super().resolve_command(ctx, args)


app = typer.Typer(no_args_is_help=True, cls=_NewByDefault)

FileOption = Annotated[
    Path | None,
    typer.Option(
        "--file", metavar="FILE", help="File of tokens, instead of those of BRIDGE_TOKENS_FILE and STREAMS_TOKENS_FILE."
    ),
]


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="What the token is called in logs: letters, digits, dots, dashes.")],
    organization: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="Bind the token to this organization; may be repeated.")
    ] = None,
) -> None:
    """Make a token: print it, once, and the line that admits it in a file of BRIDGE_TOKENS_FILE or STREAMS_TOKENS_FILE.

    The line has the token's hash only. The services read the file again by themselves when it changes.
    """
    from openbsp.http.tokens.token_set import new_token

    try:
        secret, line = new_token(name, organization or ())
    except TokensError as error:
        raise typer.BadParameter(str(error)) from None
    typer.echo(f"token  {secret}\nline   {line}")


@app.command("list")
def list_tokens(file: FileOption = None) -> None:
    """List the tokens' names and the organizations that they are bound to; of no token more than that is known.

    Exit code 1 if one of the places cannot be read as the services would read it.
    """
    well = True
    for place, tokens in _places(file):
        if isinstance(tokens, Exception):
            complain("bridge", f"{place}: {tokens}")
            well = False
            continue
        typer.echo(f"{place}: {len(tokens)} token{'' if len(tokens) == 1 else 's'}")
        for token in tokens:
            bound = "all organizations" if token.organizations is None else " ".join(sorted(token.organizations))
            typer.echo(f"  {token.name}  {bound}")
    if not well:
        sys.exit(ExitCode.NOT_STARTED)


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="The token's name.")],
    file: FileOption = None,
) -> None:
    """Remove a token from its file. The services read it again within a second, and the token is valid no more.

    Exit code 1 if there is no such token, or the services could not read what would be left.
    """
    from openbsp.http.tokens.file import revoke as revoke_in

    found = False
    for path, prefixes in _files(file).items():
        inlines = [_inline(prefix) for prefix in prefixes]
        # The remaining tokens must be valid for each service that reads the file.
        others = min((0 if isinstance(inline, TokensError) else len(inline) for inline in inlines), default=0)
        try:
            if revoke_in(path, name, others=others):
                typer.echo(f"{path}: {name} is revoked")
                found = True
        except TokensError as error:
            complain("bridge", str(error))
            sys.exit(ExitCode.NOT_STARTED)
        except OSError as error:
            complain("bridge", f"{path}: {error.strerror}")
            sys.exit(ExitCode.NOT_STARTED)
    for prefix in _SERVICES if file is None else ():
        inline = _inline(prefix)
        if not isinstance(inline, TokensError) and name in {token.name for token in inline}:
            complain("bridge", f"{name} is in the variable {prefix}_TOKENS: remove it there, and restart the service")
            sys.exit(ExitCode.NOT_STARTED)
    if not found:
        complain("bridge", f"there is no token {name}: `bridge token list` has all")
        sys.exit(ExitCode.NOT_STARTED)


def _places(file: Path | None) -> "Iterator[tuple[str, list[Token] | Exception]]":
    """Yield each place's tokens, or why it cannot be read."""
    from openbsp.http.tokens.file import read

    for path in _files(file, may_be_none=True):
        try:
            yield str(path), read(path)
        except OSError as error:
            yield str(path), OSError(error.strerror)
        except TokensError as error:
            yield str(path), error
    if file is None:
        for prefix in _SERVICES:
            inline = _inline(prefix)
            if inline:
                yield f"{prefix}_TOKENS", inline


def _files(file: Path | None, *, may_be_none: bool = False) -> dict[Path, list[str]]:
    """Return the files, each with the services that read it, as far as known."""
    if file is not None:
        return {file: []}
    named: dict[Path, list[str]] = {}
    for prefix in _SERVICES:
        if _is_set(f"{prefix}_TOKENS_FILE"):
            named.setdefault(Path(os.environ[f"{prefix}_TOKENS_FILE"]), []).append(prefix)
    if not named and not (may_be_none and any(_is_set(f"{prefix}_TOKENS") for prefix in _SERVICES)):
        raise typer.BadParameter("no tokens file: give --file, or set BRIDGE_TOKENS_FILE or STREAMS_TOKENS_FILE")
    return named


def _inline(prefix: str) -> "list[Token] | TokensError":
    """Return the tokens in a variable, or what is wrong with it."""
    from openbsp.http.tokens.token_set import parse_inline

    text = os.environ.get(f"{prefix}_TOKENS", "")
    try:
        return parse_inline(text) if text else []
    except TokensError as error:
        return error


def _is_set(variable: str) -> bool:
    return bool(os.environ.get(variable))
