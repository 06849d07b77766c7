"""What makes starting slow is left for later."""

import subprocess
import sys

import pytest

HEAVY = {"torch", "av", "numpy", "pydantic", "rich", "httpx", "soundfile"}


@pytest.mark.parametrize(
    "code",
    [
        "import desmezcla",
        "import desmezcla.cli",
        "import sys; sys.argv = ['desmezcla', '--version']\nfrom desmezcla.cli import _run; _run()",
    ],
)
def test_heavy_packages_are_not_imported(code: str) -> None:
    code += f"\nimport sys; print('heavy:', sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "heavy: []"
