"""The lock file: the exact Maven files of the local stack."""

import hashlib
import tomllib
from dataclasses import dataclass
from pathlib import Path

LOCK_FILE = Path(__file__).with_name("artifacts.lock")


@dataclass(frozen=True)
class Artifact:
    """One file. `coordinate` is groupId:artifactId:packaging[:classifier]:version, `size` is in bytes."""

    coordinate: str
    sha256: str
    size: int

    @property
    def artifact_id(self) -> str:
        """The second part of the coordinate."""
        return self.coordinate.split(":")[1]

    @property
    def version(self) -> str:
        """The last part of the coordinate."""
        return self.coordinate.rsplit(":", 1)[1]

    @property
    def filename(self) -> str:
        """The name of the file in a Maven repository; unique in a bundle."""
        _, artifact, packaging, *classifier, version = self.coordinate.split(":")
        return f"{'-'.join([artifact, version, *classifier])}.{packaging}"

    @property
    def path(self) -> str:
        """Where the file is in a Maven repository, relative to its URL."""
        group = self.coordinate.split(":", 1)[0].replace(".", "/")
        return f"{group}/{self.artifact_id}/{self.version}/{self.filename}"


@dataclass(frozen=True)
class Bundle:
    """The files of one program; the first is the program itself, the others are its dependencies."""

    name: str
    artifacts: tuple[Artifact, ...]

    @property
    def version(self) -> str:
        """The version of the program."""
        return self.artifacts[0].version

    @property
    def size(self) -> int:
        """The bytes of all files together."""
        return sum(artifact.size for artifact in self.artifacts)

    @property
    def digest(self) -> str:
        """A digest of the set of files."""
        return hashlib.sha256("".join(artifact.sha256 for artifact in self.artifacts).encode()).hexdigest()


def read_lock(path: Path = LOCK_FILE) -> dict[str, Bundle]:
    """Return the bundles of a lock file by name."""
    return {
        name: Bundle(
            name,
            tuple(
                Artifact(coordinate, str(entry["sha256"]), int(entry["size"])) for coordinate, entry in entries.items()
            ),
        )
        for name, entries in tomllib.loads(path.read_text("utf-8")).items()
    }


def write_lock(bundles: list[Bundle], path: Path = LOCK_FILE) -> None:
    """Replace a lock file."""
    lines = ["# Made by `python -m openbsp.local.resolve`: each file of the local stack, its sha256 and size in bytes."]
    for bundle in bundles:
        lines += ["", f"[{bundle.name}]"]
        lines += [
            f'"{artifact.coordinate}" = {{ sha256 = "{artifact.sha256}", size = {artifact.size} }}'
            for artifact in bundle.artifacts
        ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
