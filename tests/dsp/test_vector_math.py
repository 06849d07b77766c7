import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

CODE = """
import torch
from desmezcla.dsp.windows import window
from desmezcla.models import build_model
first = build_model("baseline").window
print(torch.equal(first, window("hann", 4096)))
"""


@pytest.mark.parametrize("attempt", range(3))
def test_the_first_window_of_a_process_is_that_of_all_others(attempt: int) -> None:
    command = [sys.executable, "-c", CODE]
    environment = os.environ | {"OMP_NUM_THREADS": "2"}  # one thread alone is no trouble

    def run(_: int) -> str:
        return subprocess.check_output(command, text=True, env=environment)

    with ThreadPoolExecutor(2) as two:
        done = list(two.map(run, range(2)))
    assert done == ["True\n"] * 2
