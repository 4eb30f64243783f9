"""`bridge` as of a version that admits fewer columns to a row: `python -m support.older_bridge serve`."""

import runpy

from bridge.http import events

events.MAX_MEMBERS = 5

if __name__ == "__main__":
    runpy.run_module("bridge", run_name="__main__")
