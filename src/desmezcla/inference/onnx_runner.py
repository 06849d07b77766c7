"""Model files on arrays, with ONNX Runtime and without PyTorch."""

import itertools
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from desmezcla.errors import DesmezclaError, ParameterError, ReleaseError
from desmezcla.inference.blocks import Block
from desmezcla.inference.device import Precision, wanted_threads
from desmezcla.inference.model_file import (
    CORE_METADATA_KEY,
    METADATA_KEY,
    MODEL_FILES,
    MODEL_REMEDY,
    FilePrecision,
    ModelFacts,
    read_model_facts,
)
from desmezcla.inference.onnx_session import Node, first_line, node_text, nodes, open_session
from desmezcla.releases.release import Release

_FREE = "any"  # size of an axis that follows the length of the mixture


class OnnxRunner:
    """A model file, ready to run; see `Runner`.

    Args:
        path: The file, as `desmezcla export RELEASE` writes it.
        threads: Threads that compute; 0 for as many as there are cores.

    Attributes:
        facts: What the file says of itself.

    Errors:
        DesmezclaError: if ONNX Runtime is not installed.
        ReleaseError: if there is no such file, or it is no model file or damaged.
    """

    engine: Literal["onnx"] = "onnx"
    device = "cpu"

    def __init__(self, path: Path, *, threads: int = 0) -> None:
        self._path = path
        self._session = open_session(path, threads=threads, remedy=MODEL_REMEDY)
        metadata = self._session.get_modelmeta().custom_metadata_map
        if CORE_METADATA_KEY in metadata:
            raise ReleaseError(
                f"{path} has the network alone, without what is around it; run the release with "
                "PyTorch (engine='torch')"
            )
        self.facts = read_model_facts(metadata.get(METADATA_KEY), str(path))
        self.spec = self.facts.spec
        self.precision = self.facts.precision
        self._front = self.facts.front_end.front_end
        self._check_nodes()
        self._try()

    def run(self, mix: Block) -> Block:
        """Separate some mixtures. Shape: `[B, C, n] -> [B, S, C, n]`.

        Errors:
            DesmezclaError: if the network fails, for want of memory for example.
        """
        stems = [self._alone(item[None]) for item in mix]
        return stems[0] if len(stems) == 1 else np.concatenate(stems)

    def _alone(self, mix: Block) -> Block:
        """Separate one mixture. Shape: `[1, C, n] -> [1, S, C, n]`."""
        inputs = self._front.before(mix)
        feed = dict(zip(self._front.inputs, inputs, strict=True))
        try:
            outputs = tuple(self._session.run(None, feed))
        except Exception as error:  # ONNX Runtime has no class that all its errors are of
            raise DesmezclaError(
                f"{self._path} does not run on {mix.shape[-1]} samples ({first_line(error)}); take "
                f"shorter segments, or {MODEL_REMEDY}"
            ) from error
        free = inputs[0].shape[2]  # frames or, where there are none, samples
        for output, (name, _, shape) in zip(outputs, _outputs(self.facts), strict=True):
            due = tuple(free if size == _FREE else size for size in shape)
            if output.shape != due:
                raise ReleaseError(
                    f"{self._path} gives {name} of the shape {output.shape} where {due} is due; "
                    f"{MODEL_REMEDY}"
                )
        return self._front.after(outputs, mix)

    def _check_nodes(self) -> None:
        """Check that the network takes and gives what the record says."""
        for kind, found, due in (
            ("takes", nodes(self._session.get_inputs()), _inputs(self.facts)),
            ("gives", nodes(self._session.get_outputs()), _outputs(self.facts)),
        ):
            for one, other in itertools.zip_longest(found, due):
                if one is None or other is None or not _fits(one, other):
                    raise ReleaseError(
                        f"{self._path} {kind} {node_text(one)}, where after its metadata it {kind} "
                        f"{node_text(other)}; {MODEL_REMEDY}"
                    )

    def _try(self) -> None:
        """Run a little silence: what is wrong shows itself before any file is opened."""
        framing = self._front.framing
        samples = min(2 * framing.frame_samples if framing else 2, self.spec.segment_samples)
        try:
            stems = self._alone(np.zeros((1, self.spec.channels, samples), np.float32))
        except DesmezclaError as error:
            raise ReleaseError(str(error)) from error
        if not np.isfinite(stems).all():
            raise ReleaseError(f"{self._path} makes silence NaN or infinite; {MODEL_REMEDY}")


def _inputs(facts: ModelFacts) -> list[Node]:
    """Return what the network of a file takes."""
    return _nodes(facts, facts.front_end.front_end.inputs, [1, facts.channels], "frame_samples")


def _outputs(facts: ModelFacts) -> list[Node]:
    """Return what the network of a file gives."""
    axes: list[Any] = [1, len(facts.stems), facts.channels]
    return _nodes(facts, facts.front_end.front_end.outputs, axes, "synthesis_samples")


def _nodes(facts: ModelFacts, names: tuple[str, ...], axes: list[Any], size: str) -> list[Node]:
    framing = facts.front_end.framing
    if framing is None:
        return [(name, "tensor(float)", [*axes, _FREE]) for name in names]
    lasts = {"frames": [getattr(framing, size)], "spectra": [framing.frame_samples // 2 + 1, 2]}
    return [
        (name, "tensor(float)", [*axes, _FREE, *lasts[name.removeprefix("stems_")]])
        for name in names
    ]


def _fits(found: Node, due: Node) -> bool:
    """Whether a node is as expected; the runtime need not know the size of an axis beforehand."""
    if found[:2] != due[:2] or len(found[2]) != len(due[2]):
        return False
    pairs = zip(found[2], due[2], strict=True)
    return all(not isinstance(one, int) or one == other for one, other in pairs)


def release_runner(release: Release, precision: Precision) -> OnnxRunner:
    """Return the model file of a release, ready to run.

    Args:
        release: The release.
        precision: Of which file; "auto" for the most exact that is there.

    Errors:
        ParameterError: if no file can have that precision.
        ReleaseError: if there is none, or it is of other weights.
    """
    known = get_args(FilePrecision)
    if precision not in ("auto", *known):
        raise ParameterError(
            f"precision={precision!r} must be auto, {', '.join(known)} with ONNX Runtime"
        )
    names = [name for kind, name in MODEL_FILES.items() if precision in ("auto", kind)]
    path = next((path for name in names if (path := release.folder / name).is_file()), None)
    option = "" if precision in ("auto", "float32") else f" --precision {precision}"
    command = f"desmezcla export {release.folder}{option}"
    if path is None:
        raise ReleaseError(
            f"release {release.name!r} has no {' or '.join(names)}; make it, where PyTorch is "
            f"installed, with: {command}"
        )
    runner = OnnxRunner(path, threads=wanted_threads())
    if (runner.facts.weights_sha256, MODEL_FILES[runner.precision]) != (release.sha256, path.name):
        raise ReleaseError(
            f"{path} was made of other weights than those of release {release.name!r}, or with "
            f"another precision; make it again with: {command}"
        )
    return runner
