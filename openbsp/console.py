"""Output of commands, for people."""

from rich.console import Console

_FILE_WIDTH = 140


def make_console(*, stderr: bool = False, file_width: int = _FILE_WIDTH) -> Console:
    """Return a console; on a non-terminal without colours and control codes, and with this many columns."""
    console = Console(highlight=False, markup=False, emoji=False, stderr=stderr)
    if not console.is_terminal:
        console.width = file_width
    return console
