"""A live session without devices: what a test needs to step through it.

Tests get this file as the fixture `kit`.
"""

import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import ModuleType

import numpy as np
import pytest

from desmezcla.live import session as session_module
from desmezcla.live.backend import AudioCallback, DeviceError
from desmezcla.live.session import LiveSession
from desmezcla.live.stream import Audio

RATE = 1000
BLOCK = 10
PATIENCE_S = 5.0


@pytest.fixture(scope="session")
def kit() -> ModuleType:
    return sys.modules[__name__]


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "_LOOK_S", 0.001)
    monkeypatch.setattr(session_module, "_FIRST_PAUSE_S", 0.002)


class Stream:
    """Stems that add up to the mixture, to the last bit; it holds some samples back."""

    stems = ("vocals", "drums", "bass")
    sample_rate = RATE
    channels = 2

    def __init__(self, latency: int = 7) -> None:
        self.latency_samples = latency
        self.resets = 0
        self.gate = threading.Event()  # closed, it keeps the worker waiting
        self.gate.set()
        self.waiting = False  # at the gate
        self.spoil: Callable[[Audio], Audio] = lambda stems: stems
        self._held = np.zeros((2, 0), np.float32)

    def process(self, block: Audio) -> Audio:
        self.waiting = not self.gate.is_set()
        assert self.gate.wait(PATIENCE_S)
        self.waiting = False
        held = np.concatenate([self._held, block], axis=1)
        ready = max(0, held.shape[1] - self.latency_samples)
        self._held = held[:, ready:]
        return self.spoil(self._split(held[:, :ready]))

    def flush(self) -> Audio:
        held, self._held = self._held, self._held[:, :0]
        return self._split(held)

    def reset(self) -> None:
        self.resets += 1
        self._held = np.zeros((2, 0), np.float32)

    @staticmethod
    def _split(mixture: Audio) -> Audio:
        return np.stack([mixture * np.float32(share) for share in (0.5, 0.25, 0.25)])


class Sum:
    def mix(self, stems: Audio) -> Audio:
        mixture: Audio = stems.sum(axis=0)
        return mixture


class Recorder:
    def __init__(self) -> None:
        self.blocks: list[Audio] = []

    def write(self, stems: Audio) -> None:
        self.blocks.append(stems.copy())

    @property
    def mixture(self) -> Audio:
        mixture: Audio = np.concatenate(self.blocks, axis=2).sum(axis=0)
        return mixture


class Devices:
    """Audio devices that call back when the test says so."""

    def __init__(self) -> None:
        self.sample_rate = RATE
        self.channels = 2
        self.block_samples = BLOCK
        self.latency_s = (0.001, 0.002)
        self.running = False
        self.missing = 0  # times that they cannot be opened
        self.log: list[str] = []
        self._callback: AudioCallback | None = None

    def open(self, callback: AudioCallback) -> None:
        self.log.append("open")
        if self.missing:
            self.missing -= 1
            raise DeviceError("output 'sink' is not there")
        self._callback = callback

    def start(self) -> None:
        self.running = True

    def close(self, *, drain: bool) -> None:
        if self._callback is not None:
            self.log.append("drain" if drain else "close")
        self._callback, self.running = None, False

    def call(self, heard: Audio | None, samples: int = BLOCK, xruns: int = 0) -> Audio:
        """Let the devices ask once, and return what they play."""
        assert self._callback is not None
        play = np.full((2, samples if heard is None else heard.shape[1]), np.nan, np.float32)
        self._callback(heard, play, xruns)
        return play


class Source:
    """A file that was decoded in full, or up to an error."""

    def __init__(self, audio: Audio, error: Exception | None = None) -> None:
        self.audio = audio
        self.error = error
        self.log: list[str] = []
        self.hungry = 0  # times that nothing is ready

    def start(self) -> None:
        self.log.append("start")

    def read(self, out: Audio) -> int:
        if self.hungry:
            self.hungry -= 1
            return 0
        got = min(int(out.shape[1]), int(self.audio.shape[1]))
        out[:, :got], self.audio = self.audio[:, :got], self.audio[:, got:]
        return got

    @property
    def ended(self) -> bool:
        return not self.audio.size

    def check(self) -> None:
        if self.error is not None:
            raise self.error

    def close(self) -> None:
        self.log.append("close")


def noise(samples: int, seed: int = 0) -> Audio:
    return np.random.default_rng(seed).uniform(-1, 1, (2, samples)).astype(np.float32)


def delayed(audio: Audio, latency: int, length: int | None = None) -> Audio:
    """Return what is played for an input: silence, then the input."""
    late = np.concatenate([np.zeros((2, latency), np.float32), audio], axis=1)
    return late[:, : audio.shape[1] if length is None else length]


def until(condition: Callable[[], bool]) -> None:
    """Wait for another thread."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.0005)


def play(live: LiveSession, devices: Devices, audio: Audio, cuts: Iterator[int]) -> Audio:
    """Let the devices hear audio in blocks, and the worker keep up, and return what they play."""
    played, heard, separated = [], 0, live.statistics().blocks * BLOCK
    while heard < audio.shape[1]:
        block = audio[:, heard : heard + next(cuts)]
        heard += block.shape[1]
        played.append(devices.call(block))
        wanted = separated + heard - BLOCK
        until(lambda wanted=wanted: live.statistics().blocks * BLOCK > wanted)  # type: ignore[misc]
    return np.concatenate(played, axis=1)


def steady() -> Iterator[int]:
    while True:
        yield BLOCK


def stall(stream: Stream, devices: Devices, audio: Audio) -> Audio:
    """Let the devices hear audio while the worker is kept from working on it."""
    stream.gate.clear()
    played = [devices.call(audio[:, :BLOCK])]
    until(lambda: stream.waiting)
    for start in range(BLOCK, audio.shape[1], BLOCK):
        played.append(devices.call(audio[:, start : start + BLOCK]))
    stream.gate.set()
    return np.concatenate(played, axis=1)
