"""The driver of the benchmarks, with parts that measure nothing."""

import subprocess
import sys
from pathlib import Path

BENCHMARKS = Path(__file__).parents[3] / "benchmarks"
#: Parts by name: what each does. They get the options that a benchmark gets.
PART = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
from figures.goals import Goal
from figures.results import Results
options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
assert 0 < float(options["--budget-s"]) <= 120, options
print("in the middle of", {name!r})
{body}
Path(options["--markdown"]).write_text("# {name}")
Results("a machine", "one", [Goal("{name}", 1, at_least=2)]).write(Path(options["--results"]))
"""
DRIVER = """
import sys
from pathlib import Path
sys.path.insert(0, {benchmarks!r})
import typer
import all as driver
driver.HERE = Path({directory!r})
driver.RESULTS, driver.DOCS = Path({directory!r}, "build"), Path({directory!r}, "docs")
driver._prepare = lambda: None
driver._QUICK_PATIENCE_S = {patience_s}
driver.PARTS = tuple(driver.Part(name, 10, (), ()) for name in {names!r})
typer.run(driver.main)
"""


def run(directory, bodies, *options, patience_s=300):
    for name, body in bodies.items():
        (directory / f"{name}.py").write_text(PART.format(benchmarks=str(BENCHMARKS), name=name, body=body))
    code = DRIVER.format(
        benchmarks=str(BENCHMARKS), directory=str(directory), names=tuple(bodies), patience_s=patience_s
    )
    return subprocess.run(
        [sys.executable, "-c", code, "--minutes", "2", *options], capture_output=True, text=True, check=False
    )


def test_a_part_that_fails_is_named_and_the_others_run(tmp_path):
    done = run(tmp_path, {"first": "", "broken": "sys.exit(3)", "last": ""})
    assert done.returncode == 1, done.stderr
    assert "FAILED: broken (exit code 3; " in done.stdout
    assert "MISSED  first  first" in done.stdout
    assert "MISSED  last   last" in done.stdout
    assert "0 goals met, 2 missed" in done.stdout
    page = (tmp_path / "docs" / "benchmarks.md").read_text()
    assert "Failed, wholly or in part: broken." in page
    assert "| last | last | at least 2 | 1 | **MISSED** |" in page
    assert (tmp_path / "docs" / "benchmarks-last.md").read_text() == "# last"
    assert (tmp_path / "build" / "broken.log").read_text() == "in the middle of broken\n"


def test_goals_that_are_missed_are_no_failure(tmp_path):
    assert run(tmp_path, {"first": ""}).returncode == 0


def test_a_part_that_hangs_is_ended(tmp_path):
    done = run(tmp_path, {"stuck": "import threading; threading.Event().wait()"}, "--quick", patience_s=2)
    assert done.returncode == 1, done.stderr
    assert "FAILED: stuck (ended after 2 s; " in done.stdout


def test_a_smoke_test_leaves_the_documentation_alone(tmp_path):
    done = run(tmp_path, {"first": ""}, "--quick")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "build" / "quick" / "docs" / "benchmarks-first.md").exists()
    assert not (tmp_path / "docs").exists()


def test_one_part_alone_keeps_the_results_of_the_others(tmp_path):
    run(tmp_path, {"first": "", "last": ""})
    done = run(tmp_path, {"first": "sys.exit(4)", "last": ""}, "--only", "last")
    assert done.returncode == 0, done.stderr
    assert "MISSED  first" in done.stdout


def test_an_unknown_part_is_refused_before_anything_runs(tmp_path):
    done = run(tmp_path, {"first": ""}, "--only", "frist")
    assert done.returncode == 2
    assert "none of first" in " ".join(done.stderr.split())
    assert not (tmp_path / "build").exists()


def test_the_parts_take_the_options_that_they_are_given_and_fit_into_the_budget():
    code = f"""
import importlib.util, sys
sys.path.insert(0, {str(BENCHMARKS)!r})
import typer
import all as driver
for part in driver.PARTS:
    app = typer.Typer()
    # The package `join` is found before the script.
    spec = importlib.util.spec_from_file_location("part", driver.HERE / (part.name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    app.command()(module.main)
    for quick in (False, True):
        options = part.command(quick=quick, budget_s=60, directory=driver.RESULTS, docs=driver.DOCS)[3:]
        typer.main.get_command(app).make_context(part.name, options)
# On a clean checkout, contestants are built before; that takes two minutes.
assert 120 + sum(part.planned_s for part in driver.PARTS) <= driver._BUDGET_MIN * 60
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
