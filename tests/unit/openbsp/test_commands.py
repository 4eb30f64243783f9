"""What command lines do alike."""

import signal
import subprocess
import sys

import pytest

STARTING = """
import signal
from openbsp.commands import end_when_asked
end_when_asked()
print("begun", flush=True)
while True:
    signal.pause()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_anything_is_begun_ends_the_process_in_order(number):
    with subprocess.Popen([sys.executable, "-c", STARTING], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.wait(30) == 0
