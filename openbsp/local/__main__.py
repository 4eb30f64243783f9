"""`python -m openbsp.local`: the broker and the registry, until Ctrl-C."""

import argparse
import signal
import sys
import threading
from pathlib import Path

from openbsp.local.errors import LocalStackError
from openbsp.local.stack import LocalStack, prepare


def main() -> int:
    """Start both, print their addresses, and wait for SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m openbsp.local", description=__doc__)
    parser.add_argument("--data", type=Path, metavar="DIR", help="keep the data here (default: a temporary directory)")
    parser.add_argument("--kafka-port", type=int, metavar="PORT", help="default: a free one")
    parser.add_argument("--registry-port", type=int, metavar="PORT", help="default: a free one")
    parser.add_argument("--log", action="store_true", help="print what the servers log")
    parser.add_argument(
        "--prepare", action="store_true", help="only make what halves the time of later starts (200 MB), and end"
    )
    options = parser.parse_args()
    # Trap: a shell starts background commands with SIGINT ignored, and Python leaves that as it is.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        if options.prepare:
            prepare()
            return 0
        with LocalStack(
            options.data,
            kafka_port=options.kafka_port,
            registry_port=options.registry_port,
            on_log=_print_log if options.log else None,
        ) as stack:
            pids = ", ".join(f"{name} {pid}" for name, pid in stack.pids.items())
            sys.stdout.write(
                f"kafka            {stack.kafka}\nschema registry  {stack.registry}\npids             {pids}\n"
            )
            sys.stdout.flush()
            threading.Event().wait()
    except LocalStackError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 0
    return 0


def _print_log(server: str, line: str) -> None:
    sys.stdout.write(f"{server:15} | {line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
