"""For tests of what the benchmarks compute: the package `figures` is importable, which needs nothing else of theirs."""

import importlib.util
import sys
from pathlib import Path

# Trap: with benchmarks/ on the path, its `support` would be found instead of that of the tests.
_PACKAGE = Path(__file__).parents[3] / "benchmarks" / "figures"
_SPEC = importlib.util.spec_from_file_location(
    "figures", _PACKAGE / "__init__.py", submodule_search_locations=[str(_PACKAGE)]
)
sys.modules["figures"] = importlib.util.module_from_spec(_SPEC)
