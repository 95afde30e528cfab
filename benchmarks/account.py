"""Run a command, and print its seconds, processor seconds and memory in bytes as a line of JSON.

A process starts with the peak memory of the one that forked it, so this one imports next to nothing.
"""

import json
import os
import subprocess
import sys
import time

RSS_UNIT = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, bytes

start = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
seconds = time.perf_counter() - start
print(json.dumps([seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * RSS_UNIT]))
sys.exit(abs(os.waitstatus_to_exitcode(status)))
