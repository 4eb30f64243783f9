"""`bridge top` on a terminal: a screen until Ctrl-C, and the terminal as it was."""

import os
import pty
import signal
import subprocess
import sys


def test_the_view_stays_until_ctrl_c_and_leaves_the_terminal_as_it_was(unused_port):
    ours, its = pty.openpty()
    nowhere = f"http://127.0.0.1:{unused_port}"
    command = [sys.executable, "-P", "-m", "bridge", "top", "--every", "0.2", "--bridge", nowhere, "--streams", nowhere]
    terminal = {"stdin": its, "stdout": its, "stderr": its, "env": {**os.environ, "TERM": "xterm", "COLUMNS": "120"}}
    with subprocess.Popen(command, **terminal, start_new_session=True) as process:
        os.close(its)
        shown = b""
        asked = False
        try:
            # At its end the terminal is gone: EIO.
            while True:
                shown += os.read(ours, 65536)
                # More than once: it looks again and again.
                if not asked and shown.count(b"What hinders") > 2:
                    process.send_signal(signal.SIGINT)
                    asked = True
        except OSError:
            os.close(ours)
        assert process.wait(20) == 0
    assert b"does not answer: ConnectError" in shown
    assert b"Traceback" not in shown
    # The other screen, and back.
    assert shown.index(b"\x1b[?1049h") < shown.index(b"\x1b[?1049l")
