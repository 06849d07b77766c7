"""A server of a listening test that is there again as soon as it is killed.

Forked by a parent that has imported everything, it starts in a few hundredths of a second. Its
process id is printed each time.
"""

import os
import sys
from pathlib import Path

from desmezcla.listening import app, serve  # noqa: F401 - imported before forking

FOLDER, PORT, TOKEN = Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]

while True:
    child = os.fork()
    if child == 0:
        serve.serve_test(FOLDER, lambda _: None, port=PORT, token=TOKEN)
        os._exit(0)
    print(child, flush=True)
    os.waitpid(child, 0)
