"""`make sbom`: the bill of materials of the services, as CycloneDX: each pinned package with version, hashes and purl.

It lists what requirements.txt pins, which is what the image installs. The image's operating system is not in it.
"""

import argparse
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def write(output: Path, epoch: str | None = None) -> Path:
    """Write it into a directory and return its path. `epoch` is the time in it, in seconds; the same gives the same."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["version"]
    path = output / f"openbsp-stream-bridge-{version}.cdx.json"
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


def main() -> int:
    """Write it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="directory (default: dist)")
    output: Path = parser.parse_args().output.absolute()
    output.mkdir(parents=True, exist_ok=True)
    sys.stdout.write(f"{write(output)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
