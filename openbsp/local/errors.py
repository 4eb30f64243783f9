"""What can go wrong with the local stack.

LocalStackError
├── ArtifactError           a file is neither in the cache nor available
│   └── ChecksumError       a downloaded file is not the one that the lock file names
├── DataDirectoryError      the data directory cannot be made or written
│   └── DataDirectoryInUseError  another process works in it
├── PortInUseError          a requested port is taken
└── StartError              a server died or did not become ready in time
"""

from pathlib import Path


class LocalStackError(Exception):
    """Base of all; the message is written for the person who started the stack."""


class ArtifactError(LocalStackError):
    """A file that the stack needs cannot be fetched or stored."""


class ChecksumError(ArtifactError):
    """`name` was downloaded, but its sha256 is `actual` and not `expected`; the file has been removed."""

    def __init__(self, name: str, *, expected: str, actual: str) -> None:
        super().__init__(
            f"{name} is not the file that artifacts.lock names (sha256 {expected} expected, {actual} received). "
            "The file was removed; start again to fetch it once more, and distrust the repository if it happens again."
        )
        self.name = name
        self.expected = expected
        self.actual = actual


class DataDirectoryError(LocalStackError):
    """The directory `path` cannot be used; `reason` is a part of a sentence."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path} {reason}")
        self.path = path


class DataDirectoryInUseError(DataDirectoryError):
    """Another process holds the lock of `path`."""

    def __init__(self, path: Path, owner: str) -> None:
        held_by = f" (process {owner})" if owner else ""
        super().__init__(path, f"is in use by another process{held_by}; stop it or choose another directory")


class PortInUseError(LocalStackError):
    """`port` on 127.0.0.1 was requested, but something else listens there."""

    def __init__(self, server: str, port: int) -> None:
        super().__init__(f"{server}: port {port} of 127.0.0.1 is in use by another process")
        self.server = server
        self.port = port


class StartError(LocalStackError):
    """`server` is not running: `reason`, and the last lines that it logged."""

    def __init__(self, server: str, reason: str, log_tail: str) -> None:
        super().__init__(f"{server} {reason}\n{log_tail}".rstrip())
        self.server = server
        self.reason = reason
        self.log_tail = log_tail
