"""Hook of mkdocs: what the pages link to outside docs/ comes along, so that the site has no link that leads nowhere.

Markdown becomes a page of its own, a directory its list of files, anything else is copied as it is.
"""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
#: Where what is outside docs/ goes.
OUTSIDE = "repository"

_LINK = re.compile(r"(\]\()([^)#\s]+)((?:#[^)\s]*)?\))")


def on_files(files: Files, config: Any) -> Files:
    """Add everything that a page links to outside docs/, and what those pages link to."""
    waiting = [file for file in files if file.is_documentation_page()]
    while waiting:
        file = waiting.pop()
        for path in sorted(_linked(file.content_string, _origin(file.src_uri))):
            if files.get_file_from_path(_uri(path)) is None:
                added = _file(path, config)
                files.append(added)
                if added.is_documentation_page():
                    waiting.append(added)
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Lead each link that leaves docs/ to where its target is in the site."""
    here = _origin(page.file.src_uri)
    base = posixpath.dirname(page.file.src_uri)

    def moved(link: re.Match[str]) -> str:
        path = _target(link[2], here)
        return link[0] if path is None else f"{link[1]}{posixpath.relpath(_uri(path), base or '.')}{link[3]}"

    return _LINK.sub(moved, markdown)


def _origin(uri: str) -> Path:
    """Return the directory of the repository that the links of a page start from."""
    inside = uri.startswith(f"{OUTSIDE}/")
    return (ROOT / (uri.removeprefix(f"{OUTSIDE}/") if inside else f"docs/{uri}")).parent


def _linked(markdown: str, here: Path) -> set[Path]:
    return {path for link in _LINK.finditer(markdown) if (path := _target(link[2], here)) is not None}


def _target(link: str, here: Path) -> Path | None:
    """Return the file or directory of the repository that a link leads to, None if the site has it already."""
    if "://" in link or link.startswith("mailto:"):
        return None
    path = (here / link).resolve()
    if not path.exists() or not path.is_relative_to(ROOT):
        return None
    inside = path.is_relative_to(ROOT / "docs") and path.is_file()
    if inside and here.is_relative_to(ROOT / "docs"):
        return None
    return path


def _uri(path: Path) -> str:
    inside = path.is_relative_to(ROOT / "docs")
    name = str(path.relative_to(ROOT / "docs")) if inside else f"{OUTSIDE}/{path.relative_to(ROOT)}"
    return f"{name}/index.md" if path.is_dir() else name


def _file(path: Path, config: Any) -> File:
    if path.is_dir():
        names = sorted(entry.name for entry in path.iterdir() if entry.is_file() and not entry.name.startswith("."))
        listed = "\n".join(f"- [{name}]({name})" for name in names)
        return File.generated(config, _uri(path), content=f"# {path.relative_to(ROOT)}\n\n{listed}\n")
    return File.generated(config, _uri(path), abs_src_path=str(path))
