"""`make audit`: asks an advisory database for known vulnerabilities of what requirements.txt pins.

The database is PyPI's, or with AUDIT_OSV_URL any that speaks OSV's API (`https://api.osv.dev/v1/query`, or a mirror in
the house). The exit code is 1 if something is known, and 2 if a package could not be asked about.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = "pip-audit==2.10.1"

UNCHECKED = 2
#: Its exit codes when it has judged all that it could.
_JUDGED = {0, 1}


def audit(requirements: Path, osv_url: str | None) -> int:
    """Print what is known; return the exit code."""
    database = ["--vulnerability-service", "osv", "--osv-url", osv_url] if osv_url else []
    # uv asks only the index that it is told of; what pip is told by a variable counts here as well.
    index = {"UV_DEFAULT_INDEX": os.environ["PIP_INDEX_URL"]} if os.environ.get("PIP_INDEX_URL") else {}
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("uv"), "tool", "run", "--quiet", "--from", PACKAGE, "pip-audit"),
            *("--require-hashes", "--disable-pip", "--requirement", requirements, "--format", "json"),
            *("--progress-spinner", "off", *database),
        ],
        env={**os.environ, **index},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode not in _JUDGED or not done.stdout:
        sys.stdout.write("nothing was checked: the advisory database did not answer\n")
        return UNCHECKED
    packages = json.loads(done.stdout)["dependencies"]
    # Trap: pip-audit itself says "no known vulnerabilities" although it could ask about nothing.
    unchecked = [each["name"] for each in packages if "skip_reason" in each]
    known = [(each, advisory) for each in packages for advisory in each.get("vulns", ())]
    for each, advisory in known:
        repaired = ", ".join(advisory["fix_versions"]) or "no version"
        sys.stdout.write(f"{each['name']} {each['version']}: {advisory['id']}, repaired in {repaired}\n")
    sys.stdout.write(f"{len(packages) - len(unchecked)} of {len(packages)} packages checked, {len(known)} known\n")
    if unchecked:
        sys.stdout.write(f"not in the database: {', '.join(unchecked)}\n")
    if known:
        return 1
    return UNCHECKED if unchecked or not packages else 0


def main() -> int:
    """Ask; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requirements", type=Path, default=ROOT / "requirements.txt", help="what is pinned")
    return audit(parser.parse_args().requirements, os.environ.get("AUDIT_OSV_URL") or None)


if __name__ == "__main__":
    sys.exit(main())
