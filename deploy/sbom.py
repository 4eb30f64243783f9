"""`make sbom`: bills of materials as CycloneDX. Of the services: each pinned package, with version, hashes and purl.

With IMAGE=NAME also one of that image, as it is: the operating system's packages, Python, and the packages that are
installed. Docker runs the image once for it.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from packageurl import PackageURL

ROOT = Path(__file__).parents[1]
SPECIFICATION = "1.6"
#: How a line of dpkg's begins if all of the package is there.
_INSTALLED = "ii "
#: Runs in the image, by the services' own Python. What else is there, the image's Dockerfile has put there.
_LOOK = """
import json, platform, subprocess, sys, sysconfig
from importlib.metadata import distributions

fields = "${db:Status-Abbrev} ${Package} ${Version} ${Architecture} ${source:Package} ${source:Version}\\n"
shown = subprocess.run(["dpkg-query", "--show", "--showformat", fields], stdout=subprocess.PIPE, text=True, check=True)
base = {"base": sys.base_prefix, "platbase": sys.base_prefix}
paths = [sysconfig.get_path("purelib"), sysconfig.get_path("purelib", vars=base)]
found = [[each.metadata["Name"], each.version] for each in distributions(path=paths)]
release = platform.freedesktop_os_release()
python = [platform.python_version(), sys.base_prefix]
print(json.dumps({"release": release, "dpkg": shown.stdout, "python": python, "distributions": found}))
"""


class Content(NamedTuple):
    """What is in an image. `release` is its /etc/os-release, `dpkg` has a line for each package that dpkg knows."""

    id: str
    release: Mapping[str, str]
    dpkg: str
    #: The version of Python, and where it is installed.
    python: tuple[str, str]
    distributions: list[tuple[str, str]]


def write(output: Path, epoch: str | None = None) -> Path:
    """Write it into a directory and return its path. `epoch` is the time in it, in seconds; the same gives the same."""
    path = output / f"openbsp-stream-bridge-{_version()}.cdx.json"
    environment = {name: value for name, value in os.environ.items() if name != "SOURCE_DATE_EPOCH"}
    if epoch is not None:
        environment["SOURCE_DATE_EPOCH"] = epoch
    subprocess.run(
        [
            # It warns that nothing says which package needs which: pinned requirements do not.
            *(sys.executable, "-W", "ignore::UserWarning", "-m", "cyclonedx_py", "requirements"),
            *(ROOT / "requirements.txt", "--pyproject", ROOT / "pyproject.toml"),
            *("--output-reproducible", "--output-format", "JSON", "--output-file", path, "--validate"),
        ],
        env=environment,
        check=True,
    )
    return path


def write_of_image(image: str, output: Path) -> Path:
    """Write the bill of materials of an image into a directory and return its path. Needs Docker."""
    path = output / f"openbsp-stream-bridge-{_version()}-image.cdx.json"
    locked = hashes((ROOT / "requirements.txt").read_text("utf-8"))
    text = json.dumps(bill(_version(), content(image), locked), indent=2)
    if (fault := fault_of(text)) is not None:
        raise SystemExit(f"the bill of materials of {image} would be none: {fault}")
    path.write_text(f"{text}\n", "utf-8")
    return path


def content(image: str) -> Content:
    """Look into an image. CalledProcessError, with Docker's words on the screen, if that cannot be done."""
    shown = ("docker", "image", "inspect", "--format", "{{.Id}}", image)
    digest = subprocess.run(shown, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    confined = ("--rm", "--network=none", "--read-only", "--cap-drop=ALL")
    look = ("docker", "run", *confined, "--entrypoint", "python", digest, "-I", "-c", _LOOK)
    done = subprocess.run(look, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout)
    return Content(digest, **found)


def bill(version: str, found: Content, locked: Mapping[tuple[str, str], list[str]]) -> dict[str, Any]:
    """Return the bill of materials of an image. `locked` has the hashes of each pinned package, by name and version."""
    distribution = f"{found.release['ID']}-{found.release['VERSION_ID']}"
    parts = {
        part["bom-ref"]: part
        for part in (
            _system(found.release),
            *_python(*found.python),
            *(part for line in found.dpkg.splitlines() for part in _package(line, distribution)),
            *(_distribution(*each, locked) for each in found.distributions),
        )
    }
    image = {
        "bom-ref": "image",
        "type": "container",
        "name": "openbsp-stream-bridge",
        "version": version,
        "properties": [{"name": "openbsp:image:id", "value": found.id}],
    }
    return {
        "$schema": f"http://cyclonedx.org/schema/bom-{SPECIFICATION}.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": SPECIFICATION,
        "version": 1,
        "metadata": {"component": image},
        "components": [parts[reference] for reference in sorted(parts)],
    }


def _system(release: Mapping[str, str]) -> dict[str, Any]:
    name, version = release["ID"], release["VERSION_ID"]
    return {"bom-ref": f"{name}-{version}", "type": "operating-system", "name": name, "version": version}


def _python(version: str, prefix: str) -> Iterator[dict[str, Any]]:
    """Yield Python, unless it is a package of the operating system: Docker's own image builds it of its sources."""
    if prefix != "/usr":
        part = _part("application", PackageURL("generic", None, "python", version))
        yield {**part, "cpe": f"cpe:2.3:a:python:python:{version}:*:*:*:*:*:*:*"}


def _package(line: str, distribution: str) -> Iterator[dict[str, Any]]:
    """Yield a package of the operating system, if it is installed: dpkg also knows some that were removed."""
    if not line.startswith(_INSTALLED):
        return
    name, version, architecture, source, source_version = line.split()[1:]
    qualifiers = {"arch": architecture, "distro": distribution}
    # Advisories name the source package.
    if source != name or source_version != version:
        qualifiers["upstream"] = source if source_version == version else f"{source}@{source_version}"
    yield _part("library", PackageURL("deb", distribution.partition("-")[0], name, version, qualifiers))


def _distribution(name: str, version: str, locked: Mapping[tuple[str, str], list[str]]) -> dict[str, Any]:
    part = _part("library", PackageURL("pypi", None, _normalized(name), version))
    digests = locked.get((_normalized(name), version))
    if digests is None:
        return part
    # Of each file that pip might have taken.
    reference = {
        "type": "distribution",
        "url": part["purl"],
        "hashes": [{"alg": "SHA-256", "content": digest} for digest in digests],
    }
    return {**part, "externalReferences": [reference]}


def _part(kind: str, url: PackageURL) -> dict[str, Any]:
    text = url.to_string()
    return {"bom-ref": text, "type": kind, "name": url.name, "version": url.version, "purl": text}


def hashes(requirements: str) -> dict[tuple[str, str], list[str]]:
    """Return the SHA-256 sums of each package that a requirements file pins, by its name and version."""
    pinned = r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==([^\s;]+)((?:[^\n]*\\\n)*[^\n]*)"
    return {
        (_normalized(name), version): sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))
        for name, version, rest in re.findall(pinned, requirements, re.MULTILINE)
    }


def fault_of(text: str) -> str | None:
    """Return why a text is no bill of materials as CycloneDX's schema has it, None if it is one."""
    # Its libraries take their time.
    from cyclonedx.schema import SchemaVersion  # noqa: PLC0415
    from cyclonedx.validation.json import JsonStrictValidator  # noqa: PLC0415

    fault = JsonStrictValidator(SchemaVersion.from_version(SPECIFICATION)).validate_str(text)
    return None if fault is None else str(fault)


def _normalized(name: str) -> str:
    """Return the name of a Python package as the index has it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _version() -> str:
    project: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return str(project["version"])


def main() -> int:
    """Write them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="directory (default: dist)")
    parser.add_argument("--image", metavar="NAME", help="an image of which to write one as well")
    options = parser.parse_args()
    output: Path = options.output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{write(output)}\n")
    if options.image:
        sys.stdout.write(f"{write_of_image(options.image, output)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
