"""Refuses to work with a package `avro` that is not this project's: Apache's on PyPI has the same name.

Installed into one environment, either overwrites files of the other. This imports nothing of the project, so it can run
first.
"""

import importlib
import sys

_DISTRIBUTION = "openbsp-stream-bridge"
_MISUSE = 2


def refuse_foreign_avro(program: str) -> None:
    """End the process with a sentence and status 2 unless the package `avro` is this project's."""
    try:
        avro = importlib.import_module("avro")
    except ImportError as error:
        found = f"cannot be imported ({error})"
    else:
        if getattr(avro, "CONTRACT_OF", None) == _DISTRIBUTION:
            return
        # Without a file: a directory without __init__.py, such as what is left of a package that was uninstalled.
        places = [avro.__file__] if avro.__file__ else list(avro.__path__)
        found = f"is not this project's but {', '.join(map(str, places))}"
    sys.stderr.write(
        f"{program}: the package `avro` {found}; another package of that name, such as Apache's, was "
        f"installed over it or hides it. Install {_DISTRIBUTION} in an environment of its own.\n"
    )
    sys.exit(_MISUSE)
