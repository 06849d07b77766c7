"""Where the device's thread and the worker meet: samples change hands, nobody waits.

The output lags behind the input by `latency_samples`, always. That many samples of silence are
played first; from then on each block that comes in takes one out that is as long. What is not
there in time is played as silence, and dropped when it comes. What finds no room at the input
becomes silence of the same length. So neither shifts anything that follows.
"""

import threading

import numpy as np

from desmezcla.errors import ParameterError
from desmezcla.live.backend import BlockSource
from desmezcla.live.priority import DEVICE_PRIORITY, raise_priority
from desmezcla.live.ring import RingBuffer
from desmezcla.live.statistics import Counters
from desmezcla.live.stream import Audio


class Handover:
    """Rings of samples to and from the worker, during one stretch of playing.

    Args:
        channels: Of input and output.
        block_samples: Samples that the worker takes at a time.
        latency_samples: How far the output is to lag behind the input.
        backlog_samples: How much of the input can wait for the worker.
        counters: Where losses are counted.
        source: Where the input comes from, if not from a device.
    """

    def __init__(
        self,
        channels: int,
        block_samples: int,
        latency_samples: int,
        backlog_samples: int,
        counters: Counters,
        source: BlockSource | None = None,
    ) -> None:
        self.latency_samples = latency_samples
        self.input = RingBuffer(channels, backlog_samples)
        # The worker can be as much ahead of the device as all that waits for it, and what is lost
        # from the input comes on top.
        self.output = RingBuffer(channels, latency_samples + 2 * (backlog_samples + block_samples))
        self.output.write_silence(latency_samples)
        self.calls = 0
        self.largest_call = 0  # samples that the device has asked for at once
        self.input_complete = False  # nothing more will be written into the input ring
        self.finished = False  # the last sample has been played
        self.error: Exception | None = None
        self._counters = counters
        self._source = source
        self._source_ended = False
        self._piece = np.zeros((channels, block_samples), np.float32)
        self._heard = 0  # samples that came in, lost ones too
        self._played = 0  # samples given out, the silence of misses too
        self._lost = 0  # silence that the input ring is yet to get in place of lost samples
        self._late = 0  # samples to be dropped from the output ring when they come
        # Locked while there is nothing new. To release a lock takes no time, and no other lock,
        # as a condition or an event would.
        self._bell = threading.Lock()

    def callback(self, heard: Audio | None, play: Audio, xruns: int) -> None:
        """Serve the device, in its thread. Shape: `[C, n]`, both."""
        try:
            if self.calls == 0:
                raise_priority(DEVICE_PRIORITY)
            self.largest_call = max(self.largest_call, play.shape[1])
            self._counters.xruns += xruns
            if self._source is not None:
                self._pull(self._source, play.shape[1])
            elif heard is not None:
                self._push(heard)
            else:
                raise ParameterError("there is no input device; choose one, or give a file")
            self.ring()
            self._play(play)
        except Exception as error:  # there is nobody above who could do anything with it
            self.error = error
            play[:] = 0
        self.calls += 1

    def ring(self) -> None:
        """Wake the worker, which has something to do."""
        if self._bell.locked():
            try:
                self._bell.release()
            except RuntimeError:  # someone else was quicker
                return

    def wait(self, timeout_s: float) -> None:
        """Let the worker wait until there is something to do, or for so long."""
        self._bell.acquire(timeout=timeout_s)

    def _push(self, block: Audio) -> None:
        """Put input into the ring, silence for what was lost first."""
        if self._lost:
            self._lost -= self.input.write_silence(self._lost)
        taken = 0 if self._lost else self.input.write(block)
        missing = block.shape[1] - taken
        if missing:
            self._lost += missing
            self._counters.input_overruns += 1
            self._counters.lost_input_samples += missing
        self._heard += block.shape[1]

    def _pull(self, source: BlockSource, samples: int) -> None:
        """Put as much into the ring as the device plays, from the source."""
        while samples and not self._source_ended:
            piece = self._piece[:, :samples]
            got, wanted = source.read(piece), piece.shape[1]
            if got < wanted and source.ended:
                self._source_ended = True
                piece = piece[:, :got]
            elif got < wanted:
                piece[:, got:] = 0
                self._counters.input_underruns += 1
                self._counters.underrun_samples += wanted - got
            self._push(piece)
            samples -= wanted
        if self._source_ended and not self.input_complete:
            self._lost -= self.input.write_silence(self._lost)
            self.input_complete = self._lost == 0

    def _play(self, play: Audio) -> None:
        """Fill the device's block with what is due, as far as it is there."""
        if self._late:
            self._late -= self.output.skip(self._late)
        due = play.shape[1]
        if self._source_ended:
            due = min(due, self._heard + self.latency_samples - self._played)
        got = 0 if self._late else self.output.read(play[:, :due])
        play[:, got:] = 0
        if got < due:
            self._late += due - got
            self._counters.deadline_misses += 1
            self._counters.missed_samples += due - got
        self._played += due
        self._counters.played_samples += due
        if self._source_ended and self._played == self._heard + self.latency_samples:
            self.finished = True
