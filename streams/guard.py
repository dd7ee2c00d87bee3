"""Watches over an ephemeral broker: when the parent ends, however it ends, the broker ends too.

Run as `python -m streams.guard FOLDER COMMAND...` with a pipe as standard input whose other end
only the parent holds. "stop" on it is a clean stop; its end without that means the parent is gone,
and then the folder goes as well. Tied to the parent's life, not to one of its threads.
"""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

_STOP_S = 15.0


def main() -> None:
    folder, *command = sys.argv[1:]
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Only the pipe decides. Not SIG_IGN: the broker would inherit it and never end cleanly.
        signal.signal(number, lambda *_: None)
    log = (Path(folder) / "kafka.log").open("ab")
    broker = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    sys.stdout.write(f"{broker.pid}\n")
    sys.stdout.flush()
    asked = sys.stdin.readline().strip() == "stop"
    if asked:
        broker.terminate()
        try:
            broker.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            broker.kill()
    else:
        broker.kill()
    broker.wait()
    if not asked:
        shutil.rmtree(folder, ignore_errors=True)


main()
