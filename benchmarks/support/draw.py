"""Plots, drawn by another Python: their library is none of the project's."""

import tempfile
from pathlib import Path

from figures.results import Results
from join import preparation
from join.contestants import HERE, QUIX_VENV

from support.missing import MissingError, run
from support.say import say


def draw(part: str, results: Results, directory: Path) -> None:
    """Draw a part's plots into a directory. Where the library cannot be had there are none, which is said."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch, "results.json")
        results.write(file)
        try:
            preparation.quix()
            python = str(QUIX_VENV / "bin" / "python")
            run([python, "-P", str(HERE / "plots.py"), part, str(file), str(directory)], HERE)
        except MissingError as error:
            say(f"no plots: {error}")


def shown(directory: Path, names: dict[str, str]) -> str:
    """Return those of the plots, by name with a title each, that are there, for a page beside the directory."""
    there = {name: title for name, title in names.items() if (directory / f"{name}.svg").exists()}
    return "".join(f"![{title}](plots/{name}.svg)\n\n" for name, title in there.items())
