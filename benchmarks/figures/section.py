"""Pages of which a part is measured, and the rest written by hand."""

from pathlib import Path


def put(page: Path, name: str, text: str) -> None:
    """Replace the section between the comments `begin NAME` and `end NAME` of a page; a new one goes to its end."""
    begin, end = f"<!-- begin {name} -->\n", f"<!-- end {name} -->\n"
    section = f"{begin}{text.strip()}\n{end}"
    before = page.read_text("utf-8") if page.exists() else ""
    if begin in before:
        head, _, rest = before.partition(begin)
        _, found, tail = rest.partition(end)
        if not found:
            raise ValueError(f"{page}: no {end.strip()} after {begin.strip()}")
        page.write_text(head + section + tail, "utf-8")
    else:
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text(f"{before.rstrip()}\n\n{section}".lstrip(), "utf-8")
