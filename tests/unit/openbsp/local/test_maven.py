"""The Maven repository: the one that this machine is set up for."""

from pathlib import Path

import pytest
from jgo.constants import MAVEN_CENTRAL_URL

from openbsp.local.errors import ArtifactError
from openbsp.local.maven import Repository, repository

MIRROR = """<settings xmlns="http://maven.apache.org/SETTINGS/1.2.0">
  <mirrors>
    <mirror><id>other</id><mirrorOf>jboss</mirrorOf><url>https://other.example/maven</url></mirror>
    <mirror><id>office</id><mirrorOf>{of}</mirrorOf><url>https://${{env.MIRROR_HOST}}/maven2/</url></mirror>
  </mirrors>
  <servers>
    <server><id>office</id><username>me</username><password>${{env.MIRROR_PASSWORD}}</password></server>
  </servers>
</settings>"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MIRROR_HOST", "mirror.example")
    monkeypatch.setenv("MIRROR_PASSWORD", "s3cret")
    monkeypatch.delenv("OPENBSP_BRIDGE_MAVEN_REPOSITORY", raising=False)
    (tmp_path / ".m2").mkdir()
    return tmp_path


def test_without_settings_it_is_maven_central() -> None:
    assert repository() == Repository(MAVEN_CENTRAL_URL)


@pytest.mark.parametrize("of", ["*", "central", "external:*", "jboss, central", "*,!snapshots"])
def test_a_mirror_of_central_is_used_with_its_credentials(of: str, home: Path) -> None:
    (home / ".m2" / "settings.xml").write_text(MIRROR.format(of=of), "utf-8")
    assert repository() == Repository("https://mirror.example/maven2", ("me", "s3cret"))


@pytest.mark.parametrize("of", ["snapshots", "*,!central"])
def test_a_mirror_of_something_else_is_not_used(of: str, home: Path) -> None:
    (home / ".m2" / "settings.xml").write_text(MIRROR.format(of=of), "utf-8")
    assert repository() == Repository(MAVEN_CENTRAL_URL)


def test_the_environment_variable_comes_first(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (home / ".m2" / "settings.xml").write_text(MIRROR.format(of="*"), "utf-8")
    monkeypatch.setenv("OPENBSP_BRIDGE_MAVEN_REPOSITORY", "https://here.example/maven/")
    assert repository() == Repository("https://here.example/maven")


def test_settings_that_cannot_be_read_are_an_error(home: Path) -> None:
    (home / ".m2" / "settings.xml").write_text("<settings>", "utf-8")
    with pytest.raises(ArtifactError, match=r"settings\.xml cannot be read"):
        repository()


def test_credentials_are_not_shown() -> None:
    assert "s3cret" not in repr(Repository("https://mirror.example", ("me", "s3cret")))
