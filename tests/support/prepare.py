"""`python -m support.prepare`: makes the programs that take tests minutes the first time on a machine.

A test makes what it needs by itself, if it is not there. So what cannot be made here fails there, with its reason.
"""

import sys

import pytest

from support import helm, kubernetes, prometheus


def main() -> None:
    """Make each of them, and print where it is."""
    for make in (prometheus.promtool, helm.helm, kubernetes.python):
        try:
            print(make(), flush=True)
        # Of `tool`, where a program is missing.
        except (pytest.skip.Exception, pytest.fail.Exception) as missing:
            sys.exit(str(missing))


if __name__ == "__main__":
    main()
