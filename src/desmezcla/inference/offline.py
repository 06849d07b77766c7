"""`Separator`: a release ready to separate arrays and files."""

import importlib.util
import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from desmezcla.audio.container import DEFAULT_LAYOUTS
from desmezcla.errors import ParameterError, without_torch
from desmezcla.inference.arrays import as_given, to_array
from desmezcla.inference.blocks import Block
from desmezcla.inference.device import Precision, keep_freed_buffers
from desmezcla.inference.engine import Engine, EngineOptions
from desmezcla.inference.ensemble import Ensemble, Member
from desmezcla.inference.files import Progress, SeparatedFile, existing_record, separate_file
from desmezcla.inference.onnx_runner import release_runner
from desmezcla.inference.outputs import output_options
from desmezcla.inference.provenance import Provenance
from desmezcla.inference.runner import EngineName
from desmezcla.inference.sources import ArraySource, FileSource
from desmezcla.releases.release import Release
from desmezcla.releases.store import find_release

if TYPE_CHECKING:  # what runs a model file must not import PyTorch
    from torch import Tensor

    from desmezcla.models.base import SeparationModel

Audio = TypeVar("Audio", NDArray[np.float32], "Tensor")

_log = logging.getLogger(__name__)


class Separator:
    """A release, ready to separate songs into stems.

    Args:
        model: Name of a release or path of its folder, or a model.
        device: "auto" (cuda, mps or cpu, the first that is there), or one of these.
        segment: Seconds that the model is given at once; None for the release's own; "track" for
            the whole song in one piece (memory then grows with the song).
        overlap: Part of a segment that is shared with the next one, from 0 to less than 1.
        shifts: Average over that many passes with random delays of up to half a second; 0 for one
            pass without.
        seed: Of the random delays.
        precision: "float32", "bfloat16" (faster where the processor has it; see
            docs/performance.md for the agreement), or "auto", which is float32. With ONNX Runtime
            it says which file is run: "float32", "float16", "int8", or "auto" for the most exact
            of those that are there.
        batch_size: Segments that the model is given together; the result is the same.
        engine: "torch"; "onnx" for ONNX Runtime, on the processor, with the file that
            `desmezcla export RELEASE` puts into the release's folder; "auto" is "torch", and
            "onnx" where PyTorch is not installed.

    Errors:
        DesmezclaError: if the engine is not installed.
        ReleaseError: if the release is unknown or damaged, or has no model file for ONNX Runtime.
        ParameterError: if an option is out of range or not possible on this machine.

    >>> import numpy as np
    >>> separator = Separator("baseline")
    >>> stems = separator.separate(np.zeros((2, 44100), np.float32), 44100)
    >>> {stem: audio.shape for stem, audio in stems.items()}
    {'vocals': (2, 44100), 'drums': (2, 44100), 'bass': (2, 44100), 'other': (2, 44100)}
    """

    def __init__(
        self,
        model: "str | Path | SeparationModel[Any]" = "default",
        *,
        device: str = "auto",
        segment: float | Literal["track"] | None = None,
        overlap: float = 0.25,
        shifts: int = 0,
        seed: int = 0,
        precision: Precision = "auto",
        batch_size: int = 1,
        engine: EngineName = "auto",
    ) -> None:
        self.options = EngineOptions(device, segment, overlap, shifts, seed, precision, batch_size)
        chosen = _engine_name(engine, device)
        keep_freed_buffers()
        self.release: Release | None = None
        if not isinstance(model, str | Path):
            if engine == "onnx":
                raise ParameterError("engine='onnx' runs the file of a release; give its name")
            self.name = type(model).__name__
            members = [_whole(_torch_engine(model, self.options))]
            stems: tuple[str, ...] = model.spec.stems
        else:
            self.release = find_release(model)
            self.name = self.release.name
            members = _members(self.release, self.options, chosen)
            bag = bool(self.release.info.members)
            stems = self.release.info.stems if bag else members[0].engine.spec.stems
        self._ensemble = Ensemble(members, stems)

    @property
    def stems(self) -> tuple[str, ...]:
        """Names of the stems, in order."""
        return self._ensemble.stems

    @property
    def sample_rate(self) -> int:
        """Rate that the model works at, in Hz; audio of any other is resampled there and back."""
        return self._ensemble.sample_rate

    def separate(self, audio: Audio, sample_rate: int) -> dict[str, Audio]:
        """Separate audio in memory.

        Args:
            audio: Samples, nominally in [-1, 1].
            sample_rate: In Hz.

        Shape:
            audio: `[C, T]` with 1 to 8 channels, numpy or torch; returns by stem the same kind,
            `[C, T]` float32.

        Errors:
            ParameterError: if the shape, the type, the rate or a value is not allowed.
        """
        stems = np.concatenate(list(self.stream(audio, sample_rate)), axis=-1)
        return dict(zip(self.stems, as_given(stems, audio), strict=True))

    def stream(self, audio: "NDArray[np.float32] | Tensor", sample_rate: int) -> Iterator[Block]:
        """Separate audio in memory block by block; the stems need not fit into memory.

        Args:
            audio: Samples, nominally in [-1, 1].
            sample_rate: In Hz.

        Shape:
            audio: `[C, T]` with 1 to 8 channels, numpy or torch; yields float32 arrays `[S, C, n]`
            at the same rate and channels, any n; all n add up to T.

        Errors:
            ParameterError: if the shape, the type, the rate or a value is not allowed.
        """
        source = ArraySource(_checked(to_array(audio), sample_rate), sample_rate)
        yield from self._ensemble.stream(source)

    def stream_file(
        self, path: str | Path, *, start_s: float = 0.0, duration_s: float | None = None
    ) -> Iterator[Block]:
        """Separate a file block by block, in flat memory; nothing is written.

        Shape:
            yields float32 arrays `[S, C, n]` at the file's rate and channels, any n.

        Errors:
            AudioFileError: if the file cannot be read.
        """
        yield from self._ensemble.stream(FileSource(path, start_s=start_s, duration_s=duration_s))

    def separate_file(
        self,
        path: str | Path,
        out: str | Path = "separated",
        *,
        track: str | None = None,
        progress: Callable[[Progress], None] | None = None,
        existing: Callable[[Mapping[str, Path], Path], Provenance | None] = existing_record,
        **options: Any,
    ) -> SeparatedFile:
        """Separate a file and write its stems, in flat memory.

        Either all files appear, complete, or none does.

        Args:
            path: Audio file, or video file with sound.
            out: Folder to write below.
            track: Name of the track in the file names; None for the file's own name.
            progress: Called now and then; what it raises ends the separation.
            existing: Returns the record of stems that are there already, given the files of the
                stems and of the record; for stems that are kept elsewhere in the end.
            options: Fields of `OutputOptions`.

        Errors:
            AudioFileError: if the input cannot be read, or a file cannot be written.
            ParameterError: if an option is unknown or out of range.
        """
        return separate_file(
            self._ensemble,
            self.description(),
            Path(path),
            Path(out),
            output_options(**options),
            track=track,
            progress=progress,
            existing=existing,
        )

    def description(self) -> dict[str, Any]:
        """Return what `separation.json` says of the release: name, model, sha256 and licence."""
        if self.release is None:
            return {"name": self.name}
        info = self.release.info
        return {
            "name": self.name,
            "model": info.model,
            "sha256": self.release.sha256,
            "license": info.license,
        }


def _engine_name(engine: EngineName, device: str) -> Literal["torch", "onnx"]:
    """Say which of the two engines runs; "auto" is PyTorch where it is installed."""
    if engine not in get_args(EngineName):
        raise ParameterError(f"engine={engine!r} must be one of {', '.join(get_args(EngineName))}")
    there = importlib.util.find_spec("torch") is not None
    if engine == "torch" and not there:
        raise without_torch("engine='torch'")
    if engine == "torch" or (engine == "auto" and there):
        return "torch"
    if engine == "auto":
        _log.info("PyTorch is not installed: the model runs with ONNX Runtime")
    if device not in ("auto", "cpu"):
        raise ParameterError(f"device={device!r} needs PyTorch; ONNX Runtime runs on the cpu here")
    return "onnx"


def _torch_engine(model: "SeparationModel[Any]", options: EngineOptions) -> Engine:
    """Return a model, ready to separate sources."""
    from desmezcla.inference.torch_runner import torch_engine  # imports PyTorch

    return torch_engine(model, options)


def _loaded(release: Release, options: EngineOptions, engine: Literal["torch", "onnx"]) -> Engine:
    """Return the model of a release, ready to separate sources."""
    if engine == "onnx":
        return Engine(release_runner(release, options.precision), options)
    from desmezcla.releases.checkpoint import load_model  # imports PyTorch

    return _torch_engine(load_model(release), options)


def _whole(engine: Engine) -> Member:
    """Return an engine whose stems all count."""
    return Member(engine, dict.fromkeys(engine.spec.stems, 1.0))


def _members(
    release: Release, options: EngineOptions, engine: Literal["torch", "onnx"]
) -> list[Member]:
    """Load the one model of a release, or those of a bag."""
    if not release.info.members:
        return [_whole(_loaded(release, options, engine))]
    members = []
    for of_bag in release.info.members:
        loaded = _loaded(find_release(of_bag.release), options, engine)
        weights = {
            stem: of_bag.weight(stem) for stem in loaded.spec.stems if stem in release.info.stems
        }
        members.append(Member(loaded, weights))
    return members


def _checked(audio: NDArray[Any], sample_rate: int) -> Block:
    """Check audio from outside and return it as float32."""
    if audio.ndim != 2 or not 1 <= audio.shape[0] <= len(DEFAULT_LAYOUTS) or audio.shape[1] == 0:
        raise ParameterError(
            f"audio has shape {audio.shape}, but must be [C, T] with 1 to {len(DEFAULT_LAYOUTS)} "
            "channels and at least one sample; add a channel axis or transpose it"
        )
    if not np.issubdtype(audio.dtype, np.floating):
        raise ParameterError(f"audio has type {audio.dtype}; convert it to float32 in [-1, 1]")
    if not np.isfinite(audio).all():
        raise ParameterError("audio holds NaN or infinite values; replace them, or export it again")
    if not 1000 <= sample_rate <= 768_000:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be from 1000 to 768000")
    return audio.astype(np.float32, copy=False)
