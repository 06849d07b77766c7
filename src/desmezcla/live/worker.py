"""The thread that separates: from the ring of the input to that of the output."""

import logging
import threading
import time
from typing import Protocol

import numpy as np

from desmezcla.errors import DesmezclaError
from desmezcla.live.handover import Handover
from desmezcla.live.priority import WORKER_PRIORITY, raise_priority
from desmezcla.live.statistics import Counters
from desmezcla.live.stream import Audio, StemStream

_log = logging.getLogger(__name__)

# A model whose state has become NaN is started again; so many times in a row, and it is broken.
_RESTARTS = 3
_WARM_UP_BLOCKS = 4
# A worker that nobody wakes looks by itself whether it is to stop.
_LOOK_S = 0.05


class StemMixer(Protocol):
    """What makes one signal of the stems, as `mixer.Mixer`."""

    def mix(self, stems: Audio) -> Audio:
        """Mix a block. Shape: `[S, C, n]`; `[C, n]`."""


class StemSink(Protocol):
    """What keeps the stems, as `recording.StemRecorder`."""

    def write(self, stems: Audio) -> None:
        """Append a block without waiting. Shape: `[S, C, n]`."""


class StemPath:
    """The way of samples through the model: what goes in comes out, in number and in step.

    Args:
        stream: The model.
        mixer: What makes the output of the stems.
        recorder: What gets the stems besides.
        counters: Where faults are counted.
    """

    def __init__(
        self, stream: StemStream, mixer: StemMixer, recorder: StemSink | None, counters: Counters
    ) -> None:
        self._stream = stream
        self._mixer = mixer
        self._recorder = recorder
        self._counters = counters
        self._inside = 0  # samples that the model has taken, and not yet given out
        self._restarts = 0

    def warm_up(self, block_samples: int) -> None:
        """Let the model compute silence, because a first time takes long; then start anew."""
        silence = np.zeros((self._stream.channels, block_samples), np.float32)
        for _ in range(_WARM_UP_BLOCKS + -(-self._stream.latency_samples // block_samples)):
            self._stream.process(silence)
        self._stream.reset()

    def process(self, block: Audio) -> Audio:
        """Separate and mix a block, and return what is ready. Shape: `[C, n]`; `[C, m]`."""
        if not np.isfinite(block).all():
            broken = ~np.isfinite(block)
            self._counters.nonfinite_input_samples += int(broken.any(axis=0).sum())
            block = np.where(broken, np.float32(0), block)
        stems = self._stream.process(block)
        self._inside += block.shape[1] - stems.shape[2]
        return self._give(stems)

    def flush(self) -> Audio:
        """Return the rest, and be ready for another stream. Shape: returns `[C, m]`."""
        stems = self._stream.flush()
        self._stream.reset()
        self._inside = 0
        return self._give(stems)

    def skip(self, samples: int) -> Audio:
        """Give out silence for input that the model does not get. Shape: returns `[C, m]`."""
        self._counters.skipped_samples += samples
        silent = samples + self._inside
        self._restart()
        return self._give(self._silence(silent))

    def _give(self, stems: Audio) -> Audio:
        """Pass stems on to the recorder and the mixer, unless they are no numbers."""
        broken = ~np.isfinite(stems).all(axis=(0, 1))  # [n]
        if broken.any():
            self._counters.nonfinite_output_samples += int(broken.sum())
            if self._restarts == _RESTARTS:
                raise DesmezclaError(
                    "the model gives values that are NaN or infinite, even after it was started "
                    f"anew {_RESTARTS} times; try --precision float32, or another release"
                )
            self._restarts += 1
            # What the model remembers may be as broken, and would stay so for ever.
            stems = self._silence(stems.shape[2] + self._inside)
            self._restart()
        elif stems.shape[2]:
            self._restarts = 0
        if self._recorder is not None:
            self._recorder.write(stems)
        return self._mixer.mix(stems)

    def _restart(self) -> None:
        self._stream.reset()
        self._inside = 0

    def _silence(self, samples: int) -> Audio:
        return np.zeros((len(self._stream.stems), self._stream.channels, samples), np.float32)


class Worker:
    """Separates what comes through a handover, in a thread of its own.

    Args:
        path: What it does with the samples.
        handover: Where they come from and go to.
        block_samples: How many it takes at a time.
        block_s: How long such a block lasts, in seconds.
        hopeless_samples: How far it may be behind before it leaves out what waits. Up to this it
            computes everything, though late, so that the model misses nothing.
        counters: Where blocks and the time that they take are counted.

    Attributes:
        priority: What the thread has got of the system; see `priority.raise_priority`.
        error: What has stopped it.
    """

    def __init__(
        self,
        path: StemPath,
        handover: Handover,
        *,
        block_samples: int,
        block_s: float,
        hopeless_samples: int,
        counters: Counters,
    ) -> None:
        self.priority = "normal"
        self.error: Exception | None = None
        self._path = path
        self._handover = handover
        self._block = np.zeros((handover.input.channels, block_samples), np.float32)
        self._block_s = block_s
        self._hopeless = hopeless_samples
        self._counters = counters
        self._ready = threading.Event()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="separation", daemon=True)

    def start(self) -> None:
        """Start the thread, and return when the model is warm.

        Errors:
            What the model raises.
        """
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        """Let it separate what it has got, for the recording, and end. A second call is fine."""
        self._stopping = True
        self._handover.ring()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self.priority = raise_priority(WORKER_PRIORITY)
            self._path.warm_up(self._block.shape[1])
            self._ready.set()
            while self._work():
                pass
        except Exception as error:
            _log.debug("the worker has failed", exc_info=True)
            self.error = error
        finally:
            self._ready.set()

    def _work(self) -> bool:
        """Do what there is to do, or wait for it; return whether there will be more."""
        ring, block = self._handover.input, self._block
        # Asked first: whoever says that the input is complete has put in everything before.
        last = self._stopping or self._handover.input_complete
        waiting = ring.available
        if waiting > self._hopeless and not last:
            self._skip(waiting - block.shape[1])
        elif waiting >= block.shape[1]:
            self._separate()
        elif not last:
            self._handover.wait(_LOOK_S)
        else:
            ring.read(block[:, :waiting])
            self._put(self._path.process(block[:, :waiting]))
            self._put(self._path.flush())
            return False
        return True

    def _separate(self) -> None:
        started = time.perf_counter()
        self._handover.input.read(self._block)
        self._put(self._path.process(self._block))
        self._counters.load.add((time.perf_counter() - started) / self._block_s)
        self._counters.blocks += 1

    def _skip(self, samples: int) -> None:
        _log.debug("too far behind: %d samples are left out", samples)
        self._handover.input.skip(samples)
        self._put(self._path.skip(samples))

    def _put(self, output: Audio) -> None:
        """Pass the output on; there is room for it unless the device has stopped asking."""
        while output.shape[1]:
            output = output[:, self._handover.output.write(output) :]
            if output.shape[1]:
                if self._stopping:
                    return
                self._handover.wait(_LOOK_S)
