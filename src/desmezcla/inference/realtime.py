"""`StreamSeparator`: a causal release that separates while the sound comes in."""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from desmezcla.dsp.framing import Audio
from desmezcla.errors import ParameterError, ReleaseError, without_torch
from desmezcla.inference.arrays import as_given, to_array
from desmezcla.inference.block_stream import BlockStream
from desmezcla.inference.device import choose_device, keep_freed_buffers
from desmezcla.inference.onnx_stream import OnnxStream
from desmezcla.inference.runner import EngineName
from desmezcla.inference.stream_file import STREAM_FILES, StreamFacts
from desmezcla.releases.release import Release
from desmezcla.releases.store import find_release, list_releases

if TYPE_CHECKING:  # what runs a stream file must not import PyTorch
    from torch import Tensor

    from desmezcla.models.base import SeparationModel

Block = TypeVar("Block", NDArray[np.float32], "Tensor")

LivePrecision = Literal["auto", "float32", "int8"]


class StreamSeparator:
    """A causal release, ready to separate sound that comes in blocks of any size.

    What comes out does not depend on the blocks, and is what the model gives offline. Several
    streams run side by side with a separator each, and can share a model that is given as such.

    Args:
        model: Name of a release or path of its folder, or a model.
        sample_rate: Rate of the blocks, Hz; None for the model's own. At any other rate blocks are
            resampled there and back, which adds to the latency.
        channels: Channels of the blocks, 1 to 8; None for the model's own. A mono signal goes to
            both channels of a stereo model, and more than two go through it in pairs.
        device: "cpu", "cuda" or "mps", or "auto" for the first of the others that is there.
        engine: "torch"; "onnx" for ONNX Runtime, which is about twice as quick on a processor,
            with the file that `desmezcla export RELEASE --stream` puts into the release's folder;
            or "auto" for "onnx" where file and program are there.
        precision: "float32", which "auto" means, or "int8" with ONNX Runtime, from a file that was
            exported so.
        threads: Threads of ONNX Runtime. How many PyTorch has is set for the whole process, with
            `torch.set_num_threads`.

    Attributes:
        engine: The engine that runs, "torch" or "onnx".

    Errors:
        ReleaseError: if the release is unknown or damaged, or its stream file is missing or of
            other weights.
        ParameterError: if the model is not causal, or an option is out of range.

    >>> import numpy as np
    >>> from desmezcla.models import build_model
    >>> model = build_model("hs_tasnet", filters=48, units=24, layers=1)
    >>> live = StreamSeparator(model)
    >>> live.latency_samples
    1023
    >>> live.process(np.zeros((2, 3000), np.float32)).shape
    (4, 2, 2048)
    >>> live.flush().shape
    (4, 2, 952)
    """

    def __init__(
        self,
        model: "str | Path | SeparationModel[Any]" = "realtime",
        *,
        sample_rate: int | None = None,
        channels: int | None = None,
        device: str = "cpu",
        engine: EngineName = "auto",
        precision: LivePrecision = "auto",
        threads: int = 1,
    ) -> None:
        keep_freed_buffers()
        self.release = find_release(model) if isinstance(model, str | Path) else None
        if self.release and not self.release.info.causal:
            raise ParameterError(_refusal(self.release.name))
        # The processor is always there, and whether another device is, only PyTorch can say.
        kind = device if device == "cpu" or not _torch_there() else choose_device(device).type
        file = _stream_file(self.release, kind, engine, precision)
        self.engine: Literal["torch", "onnx"] = "onnx" if file else "torch"
        self._stream: BlockStream
        if self.release and file:
            self._stream = OnnxStream(
                file, sample_rate=sample_rate, channels=channels, threads=threads
            )
            _check_origin(self._stream.facts, self.release, file)
            return
        if not _torch_there():
            raise without_torch(f"running {getattr(self.release, 'name', model)!r}")
        # Deferred because it imports PyTorch.
        from desmezcla.inference.torch_step import torch_stream

        self._stream = torch_stream(
            model, device, refusal=_refusal, sample_rate=sample_rate, channels=channels
        )

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in order."""
        return self._stream.stems

    @property
    def sample_rate(self) -> int:
        """Rate of the blocks, Hz."""
        return self._stream.sample_rate

    @property
    def channels(self) -> int:
        """Channels of the blocks."""
        return self._stream.channels

    @property
    def latency_samples(self) -> int:
        """After n samples in, at least n less this many are out."""
        return self._stream.latency_samples

    def process(self, block: Block) -> Block:
        """Take a block and return what is complete of the stems.

        Shape:
            block: `[C, n]`, n from 0, numpy or torch; returns the same kind, `[S, C, m]`, m from 0.

        Errors:
            ParameterError: if the shape is another or a sample is not finite. Nothing has been
                taken then, and the stream can go on.
        """
        stems: Block = as_given(self._stream.process(to_array(block)), block)
        return stems

    def flush(self) -> Audio:
        """Return what is still inside, so that as much has come out as went in, and start anew.

        Shape:
            returns `[S, C, m]`, numpy.
        """
        return self._stream.flush()

    def reset(self) -> None:
        """Forget the sound so far, as if nothing had come in."""
        self._stream.reset()


def _torch_there() -> bool:
    return importlib.util.find_spec("torch") is not None


def _stream_file(
    release: Release | None, device: str, engine: EngineName, precision: LivePrecision
) -> Path | None:
    """Return the file that ONNX Runtime has to run, or None if PyTorch has to run the model."""
    for name, value, known in (
        ("engine", engine, get_args(EngineName)),
        ("precision", precision, get_args(LivePrecision)),
    ):
        if value not in known:
            raise ParameterError(f"{name}={value!r} must be one of {', '.join(known)}")
    must = engine == "onnx" or precision == "int8"
    if engine == "torch":
        if precision == "int8":
            raise ParameterError(
                "precision='int8' needs ONNX Runtime; take engine='onnx' or float32"
            )
        return None
    if release is None or device != "cpu":
        if must:
            raise ParameterError(
                f"engine={engine!r} with precision={precision!r} runs the stream file of a release "
                "on the processor; give a release and device='cpu', or run a file with OnnxStream"
            )
        return None
    path = release.folder / STREAM_FILES["int8" if precision == "int8" else "float32"]
    if path.is_file() and (must or importlib.util.find_spec("onnxruntime")):
        return path
    if must:
        raise ReleaseError(
            f"release {release.name!r} has no {path.name}; make it with: {_export(release, path)}"
        )
    return None


def _check_origin(facts: StreamFacts, release: Release, path: Path) -> None:
    if facts.weights_sha256 != release.sha256 or STREAM_FILES[facts.precision] != path.name:
        raise ReleaseError(
            f"{path} was made of other weights than those of release {release.name!r}, or with "
            f"another precision; make it again with: {_export(release, path)}"
        )


def _export(release: Release, path: Path) -> str:
    """Return the command that makes a stream file."""
    more = " --precision int8" if path.name == STREAM_FILES["int8"] else ""
    return f"desmezcla export {release.folder} --stream{more}"


def _refusal(name: str) -> str:
    causal = [info.name for info in list_releases() if info.causal]
    choices = f", such as {', '.join(causal)}" if causal else ""
    return (
        f"model={name!r} looks ahead and cannot run on a stream; choose a causal one{choices}, or "
        "separate the whole song with Separator"
    )
