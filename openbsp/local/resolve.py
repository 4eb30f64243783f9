"""`python -m openbsp.local.resolve` resolves the newest (or the given) versions and replaces the lock file."""

import argparse
import hashlib
import sys
import tempfile
from pathlib import Path

from jgo.maven import Artifact as MavenArtifact
from jgo.maven import MavenContext, PythonResolver

from openbsp.local.lockfile import LOCK_FILE, Artifact, Bundle, write_lock
from openbsp.local.maven import repository


def main() -> None:
    """Resolve, download, hash and write; the network and some minutes are needed."""
    parser = argparse.ArgumentParser(prog="python -m openbsp.local.resolve", description=__doc__)
    parser.add_argument("--kafka", metavar="VERSION", help="version of Apache Kafka (default: the newest release)")
    parser.add_argument(
        "--registry", metavar="VERSION", help="version of Apicurio Registry (default: the newest release)"
    )
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        context = MavenContext(repo_cache=Path(cache), remote_repos={"repository": repository().url}, timeout=60)
        bundles = [
            Bundle("kafka", _kafka(context, options.kafka or "RELEASE")),
            Bundle("registry", _registry(context, options.registry or "RELEASE")),
        ]
    write_lock(bundles)
    for bundle in bundles:
        sys.stdout.write(f"{bundle.name} {bundle.version}: {len(bundle.artifacts)} files, {bundle.size} bytes\n")
    sys.stdout.write(f"{LOCK_FILE}\n")


def _kafka(context: MavenContext, version: str) -> tuple[Artifact, ...]:
    """Lock the broker, its run-time dependencies, and the adapter from SLF4J to the included log4j."""
    files = _closure(context, f"org.apache.kafka:kafka_2.13:{version}")
    log4j = next(file.version for file in files if file.artifactId == "log4j-core")
    # Resolved on its own: jgo would let the dependency management of one program choose the versions of the other.
    for file in _closure(context, f"org.apache.logging.log4j:log4j-slf4j-impl:{log4j}"):
        if file not in files:
            files.append(file)
    names = [(file.groupId, file.artifactId, file.classifier) for file in files]
    if len(names) != len(set(names)):
        msg = f"two versions of one library: {sorted(str(file) for file in files)}"
        raise SystemExit(msg)
    return tuple(_lock(file) for file in files)


def _registry(context: MavenContext, version: str) -> tuple[Artifact, ...]:
    project = context.project("io.apicurio", "apicurio-registry-app")
    return (_lock(project.at_version(version).artifact(classifier="all", packaging="tar.gz")),)


def _closure(context: MavenContext, coordinate: str) -> list[MavenArtifact]:
    inputs, transitive = PythonResolver().resolve([context.create_dependency(coordinate)])
    return [dependency.artifact for dependency in [*inputs, *transitive]]


def _lock(file: MavenArtifact) -> Artifact:
    with file.resolve().open("rb") as content:
        sha256 = hashlib.file_digest(content, "sha256").hexdigest()
        parts = [file.groupId, file.artifactId, file.packaging, *filter(None, [file.classifier]), file.version]
        return Artifact(":".join(parts), sha256, content.tell())


if __name__ == "__main__":
    main()
