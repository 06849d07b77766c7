"""Making a thread come first, as far as the system allows; and keeping Python from pausing."""

import contextlib
import gc
import os
import sys
import threading
from collections.abc import Iterator

# In the middle of the real-time range, below what kernels and sound servers take for themselves.
# Whoever serves the device comes before who computes: it has little to do, and no time.
DEVICE_PRIORITY = 20
WORKER_PRIORITY = 10

_NICE = -15
_SWITCH_INTERVAL_S = 1e-4


def raise_priority(level: int) -> str:
    """Let the calling thread come before others, as far as the system allows it.

    Linux gives real-time priority to those who have the right to it (`RLIMIT_RTPRIO`, `ulimit
    -r`), and else perhaps a better niceness. Elsewhere threads stay as they are.

    Args:
        level: Real-time priority wanted, from 1.

    Returns:
        What the thread has got, for people: "real time 10", "nice -15" or "normal".
    """
    if sys.platform != "linux":
        return "normal"
    thread = threading.get_native_id()
    # Processes that the thread starts are not to be as important as itself.
    policy = os.SCHED_FIFO | os.SCHED_RESET_ON_FORK
    for wanted in (level, 1):
        with contextlib.suppress(OSError):
            os.sched_setscheduler(thread, policy, os.sched_param(wanted))
            return f"real time {wanted}"
    for nice in (_NICE, _NICE // 3):
        with contextlib.suppress(OSError):
            # Linux takes the number of a thread here and changes this thread alone.
            os.setpriority(os.PRIO_PROCESS, thread, nice)
            return f"nice {nice}"
    return "normal"


@contextlib.contextmanager
def without_pauses() -> Iterator[None]:
    """Keep Python's own pauses short in the block.

    What exists now is left out of garbage collection: a collection then looks only at what has
    come since, in a fraction of a millisecond. And a thread that computes in Python hands over to
    one that waits after half a millisecond instead of five.
    """
    interval = sys.getswitchinterval()
    # Someone else may have frozen objects, and unfreezing takes all.
    freeze = gc.get_freeze_count() == 0
    if freeze:
        gc.collect()
        gc.freeze()
    sys.setswitchinterval(min(interval, _SWITCH_INTERVAL_S))
    try:
        yield
    finally:
        sys.setswitchinterval(interval)
        if freeze:
            gc.unfreeze()
