"""The networks of demucs in its own files: what a file holds, and the network of ours it becomes.

A package (`.th`) has the class of a network, the arguments of its constructor and the weights, in
half precision or quantized by DiffQ. It is a pickle, of which nothing is run: classes are names
here. A safetensors file of version 4.1 has the same as JSON in its header.

The stems are put into the usual order by exchanging output channels of the last layers.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor

from desmezcla.errors import ReleaseError
from desmezcla.models import SeparationModel, build_model
from desmezcla.releases.checkpoint import check_finite, check_fit, read_tensors, shapes
from desmezcla.releases.demucs_arguments import NETWORKS, read_arguments
from desmezcla.releases.diffq import restore
from desmezcla.releases.pickle_reader import Inert
from desmezcla.releases.torch_file import read_torch_file

# Other names that a package may have; those of the records of its training are dropped.
NAMES: dict[str, object] = {name: name for name in (*NETWORKS, "diffq.diffq.DiffQuantizer")} | {
    name: Inert(name)
    for name in (
        "_codecs.encode",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        # Of OmegaConf, where the configuration of the training was not turned into plain values.
        *(f"__builtin__.{name}" for name in ("bool", "dict", "float", "int", "list", "long")),
        "__builtin__.unicode",
        "collections.defaultdict",
        "omegaconf.base.ContainerMetadata",
        "omegaconf.base.Metadata",
        "omegaconf.dictconfig.DictConfig",
        "omegaconf.listconfig.ListConfig",
        "omegaconf.nodes.AnyNode",
        "typing.Any",
    )
}


@dataclass(frozen=True)
class Network:
    """A network of ours with the weights of a file.

    Attributes:
        model: The network; its stems are in the usual order.
        sources: The stems in the order of the file.
    """

    model: SeparationModel[Any]
    sources: tuple[str, ...]


class _Package(BaseModel):
    """What is needed of a file; what else there is tells about the training."""

    klass: Literal["demucs.demucs.Demucs", "demucs.hdemucs.HDemucs", "demucs.htdemucs.HTDemucs"]
    args: tuple[Any, ...] = Field((), max_length=1)
    kwargs: dict[str, Any]
    state: dict[str, Any]


def read_network(path: Path, *, segment_s: float | None = None) -> Network:
    """Return the network of a package or of a safetensors file.

    Args:
        path: The file.
        segment_s: Seconds that the model shall be given at once, instead of its own; a network
            with a transformer takes no longer ones than its own.

    Errors:
        ReleaseError: if the file cannot be read, is no network of demucs, has arguments that are
            not understood, or does not fit.
    """
    package = _package(path)
    given = package.kwargs | dict(zip(("sources",), package.args, strict=False))
    arguments = read_arguments(package.klass, given, str(path), segment_s=segment_s)
    key, fields, sources = arguments.model, arguments.fields, arguments.sources
    try:
        # First without memory for the weights, since nobody knows how large they claim to be.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            empty = build_model(key, **fields)
        state = _weights(package, empty, path)
        check_fit(shapes(empty), state, str(path))
        with torch.random.fork_rng(devices=[]):
            model = build_model(key, **fields)
    except (ArithmeticError, RuntimeError, TypeError, ValueError) as error:
        raise ReleaseError(f"{path}: its arguments cannot be used: {error}") from error
    check_finite(state, str(path))
    moves = [sources.index(stem) for stem in fields["stems"]]
    exchanged = {name: _exchange(state[name], moves) for name in _output_tensors(state, key)}
    model.load_state_dict(state | exchanged, strict=True)
    return Network(model, sources)


def read_header(path: Path) -> dict[str, str]:
    """Return the text in the header of a safetensors file, nothing if it is none."""
    try:
        with safe_open(path, framework="pt") as file:
            return file.metadata() or {}
    except (SafetensorError, OSError):
        return {}


def broken_rules(error: ValidationError) -> str:
    """Return pydantic's findings without the values, which may be of any size and depth."""
    found = error.errors(include_input=False, include_url=False)
    return "; ".join(f"{'.'.join(map(str, e['loc'])) or 'content'}: {e['msg']}" for e in found[:4])


def _package(path: Path) -> _Package:
    safe = path.suffix == ".safetensors"
    content = _safetensors_content(path) if safe else read_torch_file(path, NAMES)
    try:
        return _Package.model_validate(content)
    except ValidationError as error:
        raise ReleaseError(
            f"{path} is no network of demucs ({broken_rules(error)}); export it with demucs' "
            "tools.export"
        ) from error


def _safetensors_content(path: Path) -> dict[str, Any]:
    """Return the same as a package has from a safetensors file."""
    tensors, header = read_tensors(path), read_header(path)
    try:
        args, kwargs = json.loads(header["args"]), json.loads(header["kwargs"])
        state: Any = tensors
        if "structure" in header:
            state = _nested(json.loads(header["structure"]), tensors)
        kwargs = {name: _number(value) for name, value in kwargs.items()}
        return {"klass": header["klass"], "args": args, "kwargs": kwargs, "state": state}
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise ReleaseError(
            f"{path} is no network of demucs: its header must have klass, args and kwargs "
            f"({type(error).__name__}: {error}); take the file of demucs 4.1"
        ) from error
    except RecursionError as error:
        raise ReleaseError(f"{path} was refused: its header is nested too deeply") from error


def _number(value: Any) -> Any:
    """Return a fraction where the JSON describes one, everything else as it is."""
    if isinstance(value, dict) and value.get("_type") == "fraction":
        return Fraction(int(value["numerator"]), int(value["denominator"]))
    return value


def _nested(node: Any, tensors: dict[str, Tensor]) -> Any:
    """Return the containers that a header describes, with the tensors in their places."""
    if not isinstance(node, dict):
        return node
    ((kind, content),) = node.items()
    if kind == "_tensor":
        return tensors[content]
    if kind == "_class":
        return str(content)
    if kind == "_dict":
        return {str(key): _nested(value, tensors) for key, value in content}
    if kind in ("_list", "_tuple"):
        return [_nested(value, tensors) for value in content]
    raise ValueError(f"unknown part {kind}")


def _weights(package: _Package, empty: SeparationModel[Any], path: Path) -> dict[str, Tensor]:
    """Return the weights in single precision, quantized ones as the values they stand for."""
    state = package.state
    if state.get("__quantized"):
        parameters = {name: value.shape for name, value in empty.named_parameters()}
        return restore(state, parameters, str(path))
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise ReleaseError(f"{path}: {name[:80]!a} in its state is no tensor; it is damaged")
    return {name: value.float() for name, value in state.items()}


def _output_tensors(names: Iterable[str], key: str) -> list[str]:
    """Return the names of the tensors whose channels are those of the stems, stem by stem.

    They are of the last transposed convolution of each decoder. In the networks with two branches
    it has a name of its own, in the first Demucs it is the last part of its layer.
    """
    parts = {name: name.split(".") for name in names}
    found: list[str] = []
    for branch in ("decoder", "tdecoder"):
        own = {name: part for name, part in parts.items() if part[0] == branch}
        last = max((int(part[1]) for part in own.values()), default=0)
        own = {name: part for name, part in own.items() if int(part[1]) == last}
        if key == "demucs":
            end = max((int(part[2]) for part in own.values()), default=0)
            found += [name for name, part in own.items() if int(part[2]) == end]
        else:
            found += [name for name, part in own.items() if "conv_tr" in part]
    return found


def _exchange(value: Tensor, moves: Sequence[int]) -> Tensor:
    """Put the channels of a transposed convolution into another order of stems.

    Shape:
        value: weight `[C, S * c, ...]` or bias `[S * c]`; returns the same.
    """
    axis = min(1, value.ndim - 1)
    stems = value.chunk(len(moves), axis)  # S of [C, c, ...] or [c]
    return torch.cat([stems[move] for move in moves], axis)
