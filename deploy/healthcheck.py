"""The image's health check: is the process of this container ready? Exit code 0 if `/readyz` answers 200.

It asks the port of what runs in the container: the bridge or the streams worker. What ends by itself is healthy.
"""

import http.client
import os
import sys
from pathlib import Path

PROCESSES = {b"serve": ("BRIDGE", 8080), b"worker": ("STREAMS", 8090)}
EVERYWHERE = {"0.0.0.0", "::", ""}
TIMEOUT_S = 4.0


def main() -> int:
    """Return the exit code."""
    arguments = Path("/proc/1/cmdline").read_bytes().split(b"\0")
    for command, (prefix, default_port) in PROCESSES.items():
        if command in arguments:
            host = os.environ.get(f"{prefix}_HOST", "")
            port = int(os.environ.get(f"{prefix}_PORT", default_port))
            return _ask("127.0.0.1" if host in EVERYWHERE else host, port)
    return 0


def _ask(host: str, port: int) -> int:
    connection = http.client.HTTPConnection(host, port, timeout=TIMEOUT_S)
    try:
        connection.request("GET", "/readyz")
        answer = connection.getresponse()
        sys.stdout.write(answer.read(2000).decode("utf-8", "replace"))
    except OSError as error:
        sys.stdout.write(f"{host}:{port}: {error}")
        return 1
    return int(answer.status != http.client.OK)


if __name__ == "__main__":
    sys.exit(main())
