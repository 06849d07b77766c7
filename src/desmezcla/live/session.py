"""A live session: from an input, through the model, to an output, with the same latency always."""

import contextlib
import logging
import time
from types import TracebackType

from desmezcla.errors import DesmezclaError, ParameterError
from desmezcla.live.backend import AudioBackend, BlockSource, DeviceError
from desmezcla.live.handover import Handover
from desmezcla.live.priority import without_pauses
from desmezcla.live.statistics import Counters, LiveStatistics
from desmezcla.live.stream import StemStream
from desmezcla.live.worker import StemMixer, StemPath, StemSink, Worker

_log = logging.getLogger(__name__)

# How much of the input can wait for the model; with half of that it is hopelessly behind.
_BACKLOG_S = 1.0
_BACKLOG_BLOCKS = 16

# Whether the device still asks is looked at that often. Some take seconds until they begin.
_LOOK_S = 0.05
_SILENT_S = 1.0
_SILENT_AT_START_S = 10.0

# A lost device is looked for after a pause that grows.
_FIRST_PAUSE_S = 0.25
_LAST_PAUSE_S = 5.0
_PAUSE_GROWTH = 1.5


class LiveSession:
    """Separates what an audio device hears, or a file, and plays what the mixer makes of it.

    The device's thread only moves samples into and out of rings. A worker thread runs the model,
    the recorder and the mixer. The output lags behind the input by `latency_samples`, whatever
    happens; see `handover.py` for what is done with samples that come late.

    All calls but `statistics` belong to one thread. `wait` looks after the device, so it is to be
    called until it says that the session has ended:

        with LiveSession(stream, mixer, backend) as session:
            while not session.wait(0.1):
                show(session.statistics())

    Args:
        stream: The model, at the rate and the channels of the backend. It is reset.
        mixer: What makes one signal of the stems; `mixer.Mixer`.
        backend: The devices; `portaudio.PortAudioBackend`.
        handoff_blocks: For how many blocks the worker may take its time. It needs one to gather,
            as many as the device asks for at once, and the rest is for computing and for whatever
            is late. With fewer than that, there is a warning.
        recorder: What gets the stems besides; `recording.StemRecorder`. Closing it is left to
            others. While a device is gone, nothing is recorded.
        source: Where the input comes from instead of a device; `file_input.FileSource`. When it
            has been played to its end, the session ends.
        lost_device_timeout_s: For how long a device that has disappeared is looked for; None for
            ever.

    Errors:
        ParameterError: if an option is out of range, or rates or channels differ.
    """

    def __init__(
        self,
        stream: StemStream,
        mixer: StemMixer,
        backend: AudioBackend,
        *,
        handoff_blocks: int = 4,
        recorder: StemSink | None = None,
        source: BlockSource | None = None,
        lost_device_timeout_s: float | None = None,
    ) -> None:
        if handoff_blocks < 1:
            raise ParameterError(f"handoff_blocks={handoff_blocks} must be 1 or more")
        if lost_device_timeout_s is not None and not lost_device_timeout_s >= 0:
            raise ParameterError(
                f"lost_device_timeout_s={lost_device_timeout_s} must be 0 or more, or None to "
                "wait for ever"
            )
        for name in ("sample_rate", "channels"):
            ours, theirs = getattr(stream, name), getattr(backend, name)
            if ours != theirs:
                raise ParameterError(
                    f"{name}={ours} of the stream must be that of the devices, {theirs}; open "
                    "both with the same"
                )
        self.handoff_samples = handoff_blocks * backend.block_samples
        self._stream = stream
        self._backend = backend
        self._source = source
        self._timeout_s = lost_device_timeout_s
        self._counters = Counters()
        self._path = StemPath(stream, mixer, recorder, self._counters)
        self._running = contextlib.ExitStack()
        self._handover: Handover | None = None
        self._worker: Worker | None = None
        self._priority = "normal"
        self._calls = 0  # of the device's thread, when last looked at
        self._silent_s = 0.0  # since the device's last call
        self._lost_at_s: float | None = None  # when the device disappeared; None if it is there
        self._pause_s = 0.0
        self._next_try_s = 0.0  # after the loss
        self._warned = False
        self._ended = False

    @property
    def latency_samples(self) -> int:
        """How far the output lags behind the input: the model and the hand-off to the worker."""
        return self._stream.latency_samples + self.handoff_samples

    @property
    def latency_s(self) -> float:
        """`latency_samples` in seconds. What the devices add is `device_latency_s`."""
        return self.latency_samples / self._backend.sample_rate

    @property
    def device_latency_s(self) -> tuple[float, float]:
        """What the open devices say of themselves: latency of input and output, in seconds."""
        return self._backend.latency_s

    @property
    def priority(self) -> str:
        """What priority the worker has got: "real time 10", "nice -15" or "normal"."""
        return self._priority

    @property
    def device_lost(self) -> bool:
        """Whether a device has disappeared and is being looked for."""
        return self._lost_at_s is not None

    def statistics(self) -> LiveStatistics:
        """Return what has happened so far; from any thread."""
        return self._counters.statistics(self._backend.sample_rate)

    def start(self) -> None:
        """Make the model warm and the source ready, then open the devices.

        Errors:
            DesmezclaError: if the source, the model or a device does not work; nothing is open or
                running then.
        """
        try:
            if self._source is not None:
                self._source.start()
            self._running.enter_context(without_pauses())
            self._begin()
        except BaseException:
            self.stop()
            raise

    def wait(self, timeout_s: float | None = None) -> bool:
        """Look after the session until it ends, or for so long; return whether it has ended.

        Errors:
            DesmezclaError: if it cannot go on: the model or the source fails, or a device stays
                away for longer than it may. Everything is closed then.
        """
        until = None if timeout_s is None else time.monotonic() + timeout_s
        while not self._ended:
            before = time.monotonic()
            rest = _LOOK_S if until is None else min(_LOOK_S, until - before)
            time.sleep(max(0.0, rest))
            try:
                # If the machine sleeps in between, that is not the device's silence.
                self._look(min(time.monotonic() - before, 2 * _LOOK_S))
            except BaseException:
                self.stop()
                raise
            if until is not None and time.monotonic() >= until:
                break
        return self._ended

    def stop(self) -> None:
        """End the session at once; what came in is still recorded. A second call does nothing."""
        self._ended = True
        try:
            self._end(drain=False)
        finally:
            if self._source is not None:
                self._source.close()
            self._running.close()

    def __enter__(self) -> "LiveSession":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _begin(self) -> None:
        """Start a worker on new rings, and open the devices."""
        rate, block = self._backend.sample_rate, self._backend.block_samples
        backlog = max(round(_BACKLOG_S * rate), _BACKLOG_BLOCKS * block) + 2 * self.handoff_samples
        self._handover = Handover(
            self._stream.channels,
            block,
            self.latency_samples,
            backlog,
            self._counters,
            self._source,
        )
        self._worker = Worker(
            self._path,
            self._handover,
            block_samples=block,
            block_s=block / rate,
            hopeless_samples=backlog // 2,
            counters=self._counters,
        )
        # A model takes a while to become warm, and a device that does not open is known at once.
        self._backend.open(self._handover.callback)
        try:
            self._worker.start()
        except Exception as error:
            raise _failed(error) from error
        self._priority = self._worker.priority
        self._calls, self._silent_s = 0, 0.0
        self._backend.start()

    def _end(self, *, drain: bool) -> None:
        """Close the devices, then let the worker come to its end."""
        try:
            self._backend.close(drain=drain)
        finally:
            if self._worker is not None:
                self._worker.stop()

    def _look(self, passed_s: float) -> None:
        """See whether everything goes well, `passed_s` after the last look."""
        if self._lost_at_s is not None:
            self._look_for_device(time.monotonic() - self._lost_at_s)
            return
        assert self._handover is not None
        assert self._worker is not None
        error = self._handover.error or self._worker.error
        if error is not None:
            raise _failed(error) from error
        if self._handover.finished:
            self._end(drain=True)
            self.stop()
            if self._source is not None:
                self._source.check()
            return
        self._check_handoff(self._handover.largest_call)
        calls = self._handover.calls
        self._silent_s = 0.0 if calls != self._calls else self._silent_s + passed_s
        self._calls = calls
        allowed_s = _SILENT_S if calls else _SILENT_AT_START_S
        if not self._backend.running or self._silent_s > allowed_s:
            self._lose_device()

    def _check_handoff(self, asked: int) -> None:
        """Say so, once, if the device asks for more at a time than can be ready."""
        block = self._backend.block_samples
        needed = -(-(asked + block) // block)
        if self.handoff_samples >= needed * block or self._warned:
            return
        self._warned = True
        _log.warning(
            "the device asks for up to %d samples at a time, too many for a hand-off of %d blocks "
            "of %d: some may come too late; use --handoff %d, or a shorter --latency",
            *(asked, self.handoff_samples // block, block, needed + 1),
        )

    def _lose_device(self) -> None:
        _log.warning("the audio device has disappeared or stopped; waiting for it to come back")
        self._counters.device_losses += 1
        self._lost_at_s = time.monotonic()
        self._pause_s = self._next_try_s = _FIRST_PAUSE_S
        self._end(drain=False)

    def _look_for_device(self, lost_s: float) -> None:
        if lost_s < self._next_try_s:
            return
        try:
            self._begin()
        except DeviceError as error:
            self._end(drain=False)
            if self._timeout_s is not None and lost_s >= self._timeout_s:
                raise DeviceError(
                    f"the audio device did not come back within {self._timeout_s:g} s ({error}); "
                    "connect it again, or choose another one of --list-devices"
                ) from error
            self._pause_s = min(_PAUSE_GROWTH * self._pause_s, _LAST_PAUSE_S)
            self._next_try_s = lost_s + self._pause_s
            return
        _log.warning("the audio device is back after %.1f s", lost_s)
        self._lost_at_s = None


def _failed(error: Exception) -> DesmezclaError:
    """Return an error that says what stopped the session."""
    if isinstance(error, DesmezclaError):
        return error
    return DesmezclaError(
        f"the session has stopped, because separating failed: {type(error).__name__}: {error}; "
        "try another release, or --precision float32"
    )
