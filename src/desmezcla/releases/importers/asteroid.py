"""asteroid: the file of a published ConvTasNet, which holds its arguments beside its tensors.

asteroid writes such files with `model.serialize()` and `torch.save`: the name of the architecture,
its arguments, the tensors, and what it was trained on. On Hugging Face they are called
`pytorch_model.bin`. On Zenodo they are called `model.pth`, as the files of other programs are, and
so that ending is only read where the format is named.

Only mono ConvTasNets with free filters are understood; every other architecture is refused by its
name. The residual path of a last block with a skip path is dropped, since asteroid computes it and
never uses the result.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.catalog import CatalogEntry, SourceFile
from desmezcla.releases.checkpoint import check_finite, check_fit, save_release, shapes
from desmezcla.releases.pickle_reader import Inert
from desmezcla.releases.release import About, Release, about_of, explain
from desmezcla.releases.torch_file import read_torch_file

FILE = "pytorch_model.bin"
SUFFIXES = (".bin", ".pt")
# What a file may say about its training beside plain values, and what is not needed of it.
UNUSED = {
    name: Inert(name)
    for name in (
        "torch.torch_version.TorchVersion",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "_codecs.encode",
    )
}
NORMS = {"gLN": "global", "cgLN": "cumulative", "cLN": "channel"}
SPEAKERS, SPEECH, SOURCES = "speaker", "speech", "source"


class _Arguments(BaseModel):
    """The arguments of asteroid's ConvTasNet, with its defaults."""

    model_config = ConfigDict(extra="forbid")

    fb_name: Literal["FreeFB", "free"] = "free"
    n_filters: int = Field(512, ge=1)
    kernel_size: int = Field(16, ge=2)
    stride: int | None = Field(8, ge=1)
    sample_rate: float = Field(8000, gt=0)
    n_src: int = Field(ge=1, le=64)
    in_chan: int | None = None
    out_chan: int | None = None
    n_blocks: int = Field(8, ge=1)
    n_repeats: int = Field(3, ge=1)
    bn_chan: int = Field(128, ge=1)
    hid_chan: int = Field(512, ge=1)
    skip_chan: int | None = Field(128, ge=0)
    conv_kernel_size: int = Field(3, ge=1)
    norm_type: Literal["gLN", "cgLN", "cLN"] = "gLN"
    mask_act: Literal["sigmoid", "relu", "softmax"] = "sigmoid"
    encoder_activation: Literal["linear", "relu"] | None = None
    causal: bool = False

    def fields(self) -> dict[str, Any]:
        """Return the fields of `conv_tasnet.Config` that mean the same."""
        return {
            "sample_rate": round(self.sample_rate),
            "channels": 1,
            "filters": self.n_filters,
            "filter_samples": self.kernel_size,
            "stride_samples": self.stride or self.kernel_size // 2,
            "bottleneck": self.bn_chan,
            "hidden": self.hid_chan,
            "skip": self.skip_chan or 0,
            "kernel": self.conv_kernel_size,
            "blocks": self.n_blocks,
            "repeats": self.n_repeats,
            "norm": NORMS[self.norm_type],
            "mask": self.mask_act,
            "encoder": self.encoder_activation or "linear",
            "causal": self.causal,
        }


def recognises(path: Path) -> bool:
    """Return whether the path is a `.bin` or `.pt` file, or a folder with `pytorch_model.bin`."""
    return path.suffix in SUFFIXES if path.is_file() else (path / FILE).is_file()


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Turn a file of asteroid, or the folder that it is in, into a release folder.

    Errors:
        ReleaseError: if the file cannot be read, or holds another architecture.
    """
    file = path / FILE if path.is_dir() else path
    content = _content(file)
    facts = (str(content[key]) for key in ("dataset", "task") if isinstance(content.get(key), str))
    about = About(
        name=name,
        description="Imported from asteroid.",
        trained_on=", ".join(facts) or "unknown",
    )
    return _convert(file, content, {}, about, target, replace=replace)


def convert(
    files: Sequence[tuple[SourceFile, Path]],
    entry: CatalogEntry,
    target: Path,
    *,
    replace: bool,
) -> Release:
    """Turn the file of a catalog entry into a release folder.

    Errors:
        ReleaseError: as `read`.
    """
    ((_, file),) = files
    fields = {"stems": entry.stems, "sample_rate": entry.sample_rate, **entry.settings}
    return _convert(file, _content(file), fields, about_of(entry), target, replace=replace)


def _content(path: Path) -> dict[str, Any]:
    """Return what a file holds; its architecture has been checked."""
    content = read_torch_file(path, UNUSED)
    keys = ("model_name", "model_args", "state_dict")
    if not isinstance(content, dict) or any(key not in content for key in keys):
        raise ReleaseError(
            f"{path} is no file of asteroid, which holds {', '.join(keys)}; give the file that "
            "model.serialize() and torch.save wrote"
        )
    if content["model_name"] != "ConvTasNet":
        raise ReleaseError(
            f"{path} holds the architecture {str(content['model_name'])[:40]!r} of asteroid; only "
            "its ConvTasNet can be imported"
        )
    state = content["state_dict"]
    if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
        raise ReleaseError(f"{path} has a state_dict that is not one of tensors; save it again")
    return content


def _convert(
    path: Path,
    content: dict[str, Any],
    fields: dict[str, Any],
    about: About,
    target: Path,
    *,
    replace: bool,
) -> Release:
    state: dict[str, Tensor] = content["state_dict"]
    check_finite(state, str(path))
    arguments = _arguments(content["model_args"], path)
    _check_sizes(arguments, state, path)
    settings = {"stems": _stems(arguments.n_src, content.get("task")), **arguments.fields()}
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model("conv_tasnet", **settings | fields)
    except ParameterError as error:
        raise ReleaseError(f"{path}: the file cannot be used: {error}") from error
    last = f"masker.TCN.{arguments.n_blocks * arguments.n_repeats - 1}.res_conv."
    if arguments.skip_chan:
        state = {key: value for key, value in state.items() if not key.startswith(last)}
    check_fit(shapes(model), state, str(path))
    model.load_state_dict(state, strict=True)
    return save_release(model, target, about, replace=replace)


def _arguments(content: object, path: Path) -> _Arguments:
    """Return the arguments of the network, if it is one that is understood."""
    try:
        arguments = _Arguments.model_validate(content)
    except ValidationError as error:
        raise ReleaseError(
            f"{path} has arguments of a ConvTasNet that cannot be imported: {explain(error)}"
        ) from error
    for field in ("in_chan", "out_chan"):
        if getattr(arguments, field) not in (None, 0, arguments.n_filters):
            raise ReleaseError(
                f"{path} has {field}={getattr(arguments, field)}, which must be "
                f"n_filters={arguments.n_filters}; such a network cannot be imported"
            )
    return arguments


def _check_sizes(arguments: _Arguments, state: dict[str, Tensor], path: Path) -> None:
    """Check the sizes that memory depends on, before a network with these sizes is built."""
    count = arguments.n_blocks * arguments.n_repeats
    found = sum(key.endswith(".res_conv.weight") for key in state)
    if found != count:
        raise ReleaseError(
            f"{path} has {found} blocks, but its arguments say "
            f"{arguments.n_blocks} x {arguments.n_repeats}; it is damaged"
        )
    filters, into_mask = arguments.n_filters, arguments.skip_chan or arguments.bn_chan
    large = {
        "encoder.filterbank._filters": (filters, 1, arguments.kernel_size),
        "masker.bottleneck.1.weight": (arguments.bn_chan, filters, 1),
        "masker.TCN.0.shared_block.0.weight": (arguments.hid_chan, arguments.bn_chan, 1),
        "masker.mask_net.1.weight": (arguments.n_src * filters, into_mask, 1),
    }
    check_fit(large, {key: state[key] for key in large if key in state}, str(path))


def _stems(count: int, task: object) -> tuple[str, ...]:
    """Return names of the stems, as far as the task of asteroid's recipe tells them."""
    name = task if isinstance(task, str) else ""
    if count == 1 and name.startswith("enh"):
        return (SPEECH,)
    each = SPEAKERS if name.startswith("sep") else SOURCES
    return tuple(f"{each}{index + 1}" for index in range(count))
