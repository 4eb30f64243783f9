"""Settings: a variable counts before an ini option, and paths of an ini file are relative to it."""

from pathlib import Path

from openbsp_testkit.options import DESCRIPTIONS, Options, ini_name, variable


def test_a_variable_counts_before_an_ini_option():
    ini = {"openbsp_backend": "local", "openbsp_python": "python3.12"}
    environment = {"OPENBSP_TESTKIT_BACKEND": "containers"}
    options = Options.read(lambda name: ini.get(name, ""), environment=environment)
    assert (options.backend, options.python, options.services) == ("containers", "python3.12", "")


def test_paths_of_an_ini_file_are_relative_to_it(tmp_path):
    (tmp_path / "wheels").mkdir()
    read = {"openbsp_services": "wheels", "openbsp_image": "team/openbsp:1", "openbsp_cache": ".cache"}.get
    options = Options.read(lambda name: read(name, ""), directory=tmp_path, environment={})
    assert options.services == str(tmp_path / "wheels")
    assert options.image == "team/openbsp:1"
    assert options.cache == str(tmp_path / ".cache"), "also when it is not there yet, wherever pytest was started"
    at_home = Options.read(lambda name: {"openbsp_cache": "~/kit"}.get(name, ""), directory=tmp_path, environment={})
    assert at_home.cache == str(Path.home() / "kit")


def test_the_page_lists_them_all(pytestconfig):
    page = (pytestconfig.rootpath / "docs" / "test-your-consumer.md").read_text("utf-8")
    for name in DESCRIPTIONS:
        assert f"| `{variable(name)}` | `{ini_name(name)}` |" in page
