"""Memory of large blocks goes back to the system."""

import subprocess
import sys

import pytest

MEBIBYTE = 1024 * 1024

PROGRAM = """
import sys
from openbsp.allocator import return_large_blocks

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * 4096

assert sys.argv[1] == "as-it-is" or return_large_blocks()
# The first block of this size that is freed is what glibc takes its threshold from.
block = bytearray(1 << 21)
del block
before = resident()
kept, large = [], []
for _ in range(100):
    large.append(b"x" * (1 << 20))
    kept.append(bytearray(4000))
del large
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator")
@pytest.mark.parametrize(("setting", "least", "most"), [("as-it-is", 64, 128), ("set", -64, 16)])
def test_large_blocks_return_to_the_system_although_small_ones_stay(setting: str, least: int, most: int):
    """As it is, 100 MiB that were freed stay with the process."""
    command = [sys.executable, "-c", PROGRAM, setting]
    kept = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert least * MEBIBYTE < kept < most * MEBIBYTE
