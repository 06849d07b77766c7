"""Real devices, as far as a machine without any has them: two null sinks of PulseAudio."""

import importlib.util
import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "live_between_null_sinks.py"


@pytest.fixture(scope="module")
def pulse() -> Iterator[Any]:
    """Give a PulseAudio daemon with two null sinks, and the script's module."""
    missing = [name for name in ("pulseaudio", "pactl", "pacat", "parec") if not shutil.which(name)]
    if missing:
        pytest.skip(f"there is no {', '.join(missing)}; install pulseaudio and pulseaudio-utils")
    spec = importlib.util.spec_from_file_location("live_between_null_sinks", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = script  # data classes look for their module there
    spec.loader.exec_module(script)
    with script.PulseServer() as server:
        listed = in_pulse(server, "print([d.name for d in list_devices()])")
        if listed.returncode or script.FIRST not in listed.stdout:
            pytest.skip(f"PortAudio has no ALSA with PulseAudio's plugin: {listed.stderr}")
        yield SimpleNamespace(server=server, script=script)


def in_pulse_code(code: str) -> str:
    return (
        "from desmezcla.live.devices import choose_device, list_devices\n"
        "from desmezcla.live.portaudio import PortAudioBackend\n" + code
    )


def in_pulse(server: Any, code: str) -> "subprocess.CompletedProcess[str]":
    """Run Python code in a process that hears and plays the two sinks."""
    return subprocess.run(
        [sys.executable, "-c", in_pulse_code(code)],
        env=server.environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


MEASURE = """
import dataclasses, json
from desmezcla.live.round_trip import measure_round_trip
devices = list_devices()
backend = PortAudioBackend(
    choose_device(devices, {output!r}, "output"), choose_device(devices, {input!r}, "input"),
    sample_rate=44100, channels=2, latency=0.1,
)
print(json.dumps(dataclasses.asdict(measure_round_trip(backend, repetitions=2))))
"""


def test_a_round_trip_through_a_sink_and_its_monitor(pulse: Any) -> None:
    # The first device hears what the first sink plays, and plays into it as well.
    pulse.server.control("set-default-sink", pulse.script.FIRST)
    done = in_pulse(pulse.server, MEASURE.format(output="pulse", input=pulse.script.FIRST))
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert 0.005 < found["median_s"] < 1
    assert not found["inverted"]
    assert len(found["delays_s"]) >= 1


def test_what_is_played_is_what_was_heard_to_the_bit(pulse: Any) -> None:
    # A busy machine may stop everything for longer than all of these buffers last.
    for _ in range(3):
        options = ["--seconds", "5", "--block", "1024", "--handoff", "30", "--latency", "0.3"]
        done = subprocess.run(
            [sys.executable, str(SCRIPT), *options],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if done.returncode == 0:
            break
    assert done.returncode == 0, done.stdout + done.stderr
    assert "deadline_misses 0" in done.stdout
    assert "inf dB" in done.stdout
    assert "gaps: 0" in done.stdout


LOSE = """
import sys, numpy as np
from desmezcla.live.session import LiveSession

class Through:
    stems, sample_rate, channels, latency_samples = ("all",), 44100, 2, 0
    def process(self, block): return block[None].copy()
    def flush(self): return np.zeros((1, 2, 0), np.float32)
    def reset(self): pass
    def mix(self, stems): return stems[0]

devices, through = list_devices(), Through()
backend = PortAudioBackend(
    choose_device(devices, {output!r}, "output"), choose_device(devices, {input!r}, "input"),
    sample_rate=44100, channels=2, latency=0.2,
)
with LiveSession(through, through, backend, handoff_blocks=20) as live:
    print("playing", flush=True)
    while not live.device_lost:
        live.wait(0.1)
    print("lost", flush=True)
    while live.device_lost:
        live.wait(0.1)
    played_s = live.statistics().played_s
    while live.statistics().played_s < played_s + 1 or live.device_lost:
        live.wait(0.1)
    print("playing again", live.statistics().device_losses >= 1, flush=True)
"""


def test_sinks_that_disappear_and_come_back(pulse: Any) -> None:
    script = pulse.script
    with script.PulseServer() as server:
        code = LOSE.format(output=script.SECOND, input=script.FIRST)
        live = subprocess.Popen(
            [sys.executable, "-c", in_pulse_code(code)],
            env=server.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        guard = threading.Timer(120, live.kill)
        guard.start()
        try:
            assert live.stdout is not None
            assert live.stdout.readline() == "playing\n"
            # One sink alone would take over what was played into the other.
            server.control("unload-module", "module-null-sink")
            assert live.stdout.readline() == "lost\n"
            for name in (script.FIRST, script.SECOND):
                server.control("load-module", *script.null_sink(name).split())
            rest, errors = live.communicate()
        finally:
            guard.cancel()
            live.kill()
            live.wait()
    assert rest == "playing again True\n", errors
    assert live.returncode == 0
