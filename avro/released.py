"""Released schema files never change: their sha256 sums are in `schemas/released.lock`.

The file has the format of `sha256sum`, so `sha256sum --check released.lock` in that directory does the same. To release
a new version: `sha256sum MessageEvent.v2.avsc >> released.lock`.
"""

from hashlib import sha256
from importlib.resources import files
from importlib.resources.abc import Traversable

LOCK = "released.lock"


def faults(directory: Traversable | None = None) -> list[str]:
    """Return a line for each schema file that differs from its release, is gone, or was never released."""
    directory = directory or files("avro.schemas")
    lines = [line.split() for line in (directory / LOCK).read_text("utf-8").splitlines()]
    wrong = [number for number, words in enumerate(lines, 1) if len(words) != len(("sum", "file"))]
    if wrong:
        return [f"{LOCK}: line {number} is not a sum and a file, as sha256sum writes them" for number in wrong]
    sums = {name: digest for digest, name in lines}
    present = {
        resource.name: sha256(resource.read_bytes()).hexdigest()
        for resource in directory.iterdir()
        if resource.name.endswith(".avsc")
    }
    found = [f"{name}: released, but gone" for name in sorted(sums.keys() - present.keys())]
    found += [
        f"{name}: differs from what was released; a released version never changes, add the next one"
        for name in sorted(sums.keys() & present.keys())
        if sums[name] != present[name]
    ]
    found += [
        f"{name}: not released; when it is final, add its sum with: sha256sum {name} >> {LOCK}"
        for name in sorted(present.keys() - sums.keys())
    ]
    return found
