"""What can go wrong in the ingress.

BridgeError
├── SpoolError            the spool cannot be used
│   ├── SpoolInUseError   another process has it
│   └── SpoolUnavailableError   not now, but perhaps later: the disk is full, read-only, or fails
└── NotStoredError        neither Kafka nor the spool took an event
    └── SpoolFullError    the spool is at its size limit
"""

from pathlib import Path


class BridgeError(Exception):
    """Base of all; the message says what to do."""


class SpoolError(BridgeError):
    """The spool at `path` cannot be used."""

    def __init__(self, path: Path, why: str) -> None:
        """Name the file."""
        super().__init__(f"{path}: {why}")
        self.path = path


class SpoolInUseError(SpoolError):
    """Another process holds the lock of the spool at `path`."""

    def __init__(self, path: Path, holder: str) -> None:
        """Name the process that has it, where that is known."""
        by = f"process {holder}" if holder else "another process"
        super().__init__(path, f"in use by {by}; give each bridge a BRIDGE_SPOOL_DIR of its own")


class SpoolUnavailableError(SpoolError):
    """The disk does not let the spool at `path` be opened now: it is full, read-only, fails, or the file is locked."""


class NotStoredError(BridgeError):
    """An event was not accepted, because nothing could store it in time."""


class SpoolFullError(NotStoredError):
    """The spool holds as much as BRIDGE_SPOOL_MAX_BYTES allows."""
