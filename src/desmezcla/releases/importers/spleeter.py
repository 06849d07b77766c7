"""Spleeter: a TensorFlow checkpoint in a folder, or the archive (`.tar.gz`) of such a folder.

Spleeter builds the U-Nets of all stems in one graph, in the order of its configuration, and
TensorFlow numbers the layers of a kind as they are built: with six levels, `conv2d` to `conv2d_6`
belong to the first stem, `conv2d_7` to `conv2d_13` to the second. Number and sizes of the networks
are those of the tensors. What tensors do not tell (the names of the stems, activations, the STFT)
is taken from a JSON configuration of Spleeter in the folder; without one, it is that of Spleeter's
own model with as many stems.

The variables of optimizers and the step counter are passed over, and so is the last normalisation
of each encoder, which leads nowhere. Any other variable that is not known is an error.
"""

import json
import re
import shutil
import tarfile
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.catalog import CatalogEntry, SourceFile, catalog
from desmezcla.releases.checkpoint import check_finite, check_fit, save_release, shapes
from desmezcla.releases.release import About, Release, StemName, about_of, explain
from desmezcla.releases.tensor_bundle import TensorBundle

ARCHIVES = (".tar.gz", ".tgz")
MAX_UNPACKED_BYTES = 1 << 31
MAX_MEMBERS = 1000
COUNTER = "num_batches_tracked"
CHECKPOINT_FILE = "checkpoint"
WANTED = re.compile(r"\w[\w.-]*\.(?:index|json|data-\d{5}-of-\d{5})|checkpoint", re.ASCII)

_ELU = {"encoder_activation": "elu", "decoder_activation": "elu"}
PUBLISHED: dict[int, dict[str, Any]] = {
    2: {"stems": ("vocals", "accompaniment")},
    4: {"stems": ("vocals", "drums", "bass", "other"), **_ELU},
    5: {"stems": ("vocals", "piano", "drums", "bass", "other"), **_ELU, "mask": "softmax"},
}

PASSED_OVER = re.compile(r"global_step|beta[12]_power|.*/(?:Adam|Adadelta|Momentum)(?:_\d+)?")
CONVOLUTION = {"kernel": "weight", "bias": "bias"}
NORMALISATION = {
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


class _Parameters(BaseModel):
    """What is needed of `model.params` in Spleeter's JSON; other values mean the defaults."""

    conv_activation: str | None = None
    deconv_activation: str | None = None


class _Network(BaseModel):
    type: Literal["unet.unet", "unet.softmax_unet"] = "unet.unet"
    params: _Parameters = _Parameters()


class _Settings(BaseModel):
    """What is needed of Spleeter's JSON."""

    instrument_list: tuple[StemName, ...]
    sample_rate: int = Field(44100, gt=0)
    frame_length: int = Field(gt=0, le=1 << 20)
    frame_step: int = Field(gt=0)
    frames: int = Field(alias="T", gt=0)
    bins: int = Field(alias="F", gt=0)
    separation_exponent: float = 2.0
    mask_extension: Literal["zeros", "average"] = "zeros"
    model: _Network = _Network()

    def fields(self) -> dict[str, Any]:
        """Return the same as fields of `spleeter_unet.Config`."""
        known = {"ReLU": "relu", "ELU": "elu", "LeakyReLU": "leaky_relu"}
        parameters = self.model.params
        return {
            "stems": self.instrument_list,
            "sample_rate": self.sample_rate,
            "n_fft": self.frame_length,
            "hop_length": self.frame_step,
            "frames": self.frames,
            "bins": self.bins,
            "separation_exponent": self.separation_exponent,
            "mask_extension": self.mask_extension,
            "mask": "softmax" if self.model.type == "unet.softmax_unet" else "sigmoid",
            "encoder_activation": known.get(parameters.conv_activation or "", "leaky_relu"),
            "decoder_activation": known.get(parameters.deconv_activation or "", "relu"),
        }


def recognises(path: Path) -> bool:
    """Return whether the path is a folder with a TensorFlow checkpoint, or an archive."""
    return bool(_indexes(path)) if path.is_dir() else path.name.endswith(ARCHIVES)


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Turn a folder or an archive of Spleeter into a release folder.

    Errors:
        ReleaseError: if a file cannot be read, is damaged, or holds another model.
    """
    about = About(name=name, description="Imported from Spleeter.")
    if entry := _catalog_entry(path):
        about = about_of(entry, name=name)
    return _convert(path, about, target, replace=replace)


def convert(
    files: Sequence[tuple[SourceFile, Path]],
    entry: CatalogEntry,
    target: Path,
    *,
    replace: bool,
) -> Release:
    """Turn the archive of a catalog entry into a release folder.

    Errors:
        ReleaseError: as `read`.
    """
    ((_, path),) = files
    return _convert(path, about_of(entry), target, replace=replace)


def _catalog_entry(path: Path) -> CatalogEntry | None:
    """Return the catalog entry that an archive belongs to, by its checksum."""
    for entry in catalog().values():
        for source in entry.files:
            if path.is_file() and source.filename == path.name and not source.mismatch(path):
                return entry
    return None


def _convert(path: Path, about: About, target: Path, *, replace: bool) -> Release:
    with _folder(path) as folder:
        bundle = TensorBundle(_index(folder, path))
        fields = _fields(bundle, folder, path)
        names = _names(bundle, fields["stems"], len(fields["widths"]))
        _check_sizes(bundle, names, fields, path)
        tensors = {
            key: _turned(torch.from_numpy(bundle.read(variable))) for key, variable in names.items()
        }
    check_finite(tensors, str(path))
    with torch.random.fork_rng(devices=[]):
        model = build_model("spleeter_unet", **fields)
    counters = {key: torch.tensor(0) for key in shapes(model) if key.endswith(COUNTER)}
    model.load_state_dict(tensors | counters, strict=True)
    return save_release(model, target, about, replace=replace)


def _fields(bundle: TensorBundle, folder: Path, path: Path) -> dict[str, Any]:
    """Return the fields of `spleeter_unet.Config` that fit the checkpoint."""
    kernels = [name for name in bundle.entries if re.fullmatch(r"conv2d\w*/kernel", name)]
    doublings = sum(name.startswith("conv2d_transpose") for name in kernels)
    # Besides as many as double, each network has convolutions that halve, and the last one.
    stems = len(kernels) - 2 * doublings
    levels = doublings // stems if stems > 0 else 0
    first = [f"{_layer('conv2d', number)}/kernel" for number in range(levels)]
    sizes = [bundle.entries[name].shape for name in first if name in bundle.entries]
    if (
        not 0 < levels == len(sizes)
        or stems * levels != doublings
        or any(len(size) != 4 for size in sizes)
    ):
        raise ReleaseError(
            f"{path} is no checkpoint of Spleeter: {len(kernels)} convolutions, of which "
            f"{doublings} are transposed, make no whole number of U-Nets; give Spleeter's own"
        )
    settings = _json_fields(folder) or PUBLISHED.get(stems)
    if settings is None:
        raise ReleaseError(
            f"{path} has {stems} stems, which none of Spleeter's own models has; put the JSON "
            "configuration that it was trained with beside it"
        )
    if len(settings["stems"]) != stems:
        raise ReleaseError(
            f"{path} has {stems} stems, but its JSON configuration names "
            f"{', '.join(settings['stems'])}; put the one that it was trained with beside it"
        )
    return {"channels": sizes[0][2], "widths": tuple(size[3] for size in sizes), **settings}


def _names(bundle: TensorBundle, stems: Sequence[str], levels: int) -> dict[str, str]:
    """Return the variable of every tensor of ours; those that are not known keep their names."""
    ours = {}
    for place, stem in enumerate(stems):
        for layer, name in _layers(place, levels):
            parts = NORMALISATION if layer.startswith("batch") else CONVOLUTION
            for theirs, part in parts.items():
                ours[f"{layer}/{theirs}"] = f"networks.stem_{stem}.{name}.{part}" if name else None
    names = {variable: ours.get(variable, variable) for variable in bundle.entries}
    return {
        name: variable
        for variable, name in names.items()
        if name and not PASSED_OVER.fullmatch(variable)
    }


def _layers(place: int, levels: int) -> Iterator[tuple[str, str | None]]:
    """Yield TensorFlow's and our name of each layer of a network, None if we do not have it."""
    convolution, doubling, norm = place * (levels + 1), place * levels, 2 * place * levels
    for level in range(levels):
        last = level == levels - 1
        yield _layer("conv2d", convolution + level), f"encoder.{level}"
        yield (
            _layer("batch_normalization", norm + level),
            None if last else f"encoder_norms.{level}",
        )
        yield _layer("conv2d_transpose", doubling + level), f"decoder.{level}"
        yield _layer("batch_normalization", norm + levels + level), f"decoder_norms.{level}"
    yield _layer("conv2d", convolution + levels), "exit"


def _layer(kind: str, number: int) -> str:
    """Return what TensorFlow calls the layer of a kind with that number."""
    return f"{kind}_{number}" if number else kind


def _check_sizes(
    bundle: TensorBundle, names: dict[str, str], fields: dict[str, Any], path: Path
) -> None:
    """Check names and shapes before there is memory for a tensor."""
    try:
        with torch.device("meta"):
            model = build_model("spleeter_unet", **fields)
            declared = {
                key: _turned(torch.empty(bundle.entries[variable].shape))
                for key, variable in names.items()
            }
    except (ParameterError, RuntimeError, OverflowError, TypeError) as error:
        raise ReleaseError(f"{path}: the files cannot be used: {error}") from error
    expected = {key: size for key, size in shapes(model).items() if not key.endswith(COUNTER)}
    check_fit(expected, declared, str(path))


def _turned(tensor: Tensor) -> Tensor:
    """Return a kernel `[height, width, i, o]` as PyTorch has it, `[o, i, height, width]`.

    A transposed one has o and i exchanged in both.
    """
    return tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor


def _json_fields(folder: Path) -> dict[str, Any] | None:
    """Return the fields that a JSON configuration of Spleeter tells, None if there is none."""
    found = []
    for file in sorted(folder.glob("[!.]*.json")):
        try:
            content = json.loads(file.read_text(encoding="utf-8"))
            if isinstance(content, dict) and "instrument_list" in content:
                found.append(_Settings.model_validate(content).fields())
        except ValidationError as error:
            raise ReleaseError(f"{file}: {explain(error)}; correct the file") from error
        except (OSError, ValueError, RecursionError) as error:
            raise ReleaseError(f"{file} cannot be read as JSON ({error}); correct it") from error
    if len(found) > 1:
        raise ReleaseError(
            f"{folder} has {len(found)} configurations of Spleeter; leave only the one that the "
            "model was trained with"
        )
    return found[0] if found else None


def _indexes(folder: Path) -> list[Path]:
    return sorted(folder.glob("[!.]*.index"))


def _index(folder: Path, path: Path) -> Path:
    """Return the index of the newest checkpoint: the one that the file `checkpoint` names."""
    indexes = _indexes(folder)
    note = folder / CHECKPOINT_FILE
    if len(indexes) > 1 and note.is_file():
        text = note.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r'^model_checkpoint_path: *"([^"]*)"', text, re.MULTILINE):
            prefix = re.split(r"[/\\]", match[1])[-1]
            indexes = [index for index in indexes if index.name == f"{prefix}.index"]
    if len(indexes) != 1:
        raise ReleaseError(
            f"{path} has {len(indexes)} checkpoints to choose from; give a folder with one "
            "(model.index, model.data-00000-of-00001)"
        )
    return indexes[0]


@contextmanager
def _folder(path: Path) -> Iterator[Path]:
    """Give the folder of the checkpoint; that of an archive is there for the block only."""
    if path.is_dir():
        yield path
        return
    with tempfile.TemporaryDirectory() as temporary:
        try:
            _unpack(path, Path(temporary))
        except (tarfile.TarError, OSError, EOFError, ValueError, zlib.error) as error:
            raise ReleaseError(
                f"{path} cannot be read as an archive ({error}); it is damaged or of another "
                "kind, so fetch it again"
            ) from error
        yield Path(temporary)


def _unpack(path: Path, folder: Path) -> None:
    """Write the files that are needed into a folder, whatever folders the archive names."""
    unpacked = 0
    with tarfile.open(path) as archive:
        for count, member in enumerate(archive, start=1):
            unpacked += member.size
            if member.size < 0 or unpacked > MAX_UNPACKED_BYTES or count > MAX_MEMBERS:
                raise ReleaseError(
                    f"{path} holds more than {MAX_UNPACKED_BYTES} bytes or {MAX_MEMBERS} files; it "
                    "is refused, so unpack it and give the folder"
                )
            name = member.name.rpartition("/")[2]
            source = archive.extractfile(member) if member.isreg() else None
            if source is None or not WANTED.fullmatch(name):
                continue
            if (folder / name).exists():
                raise ReleaseError(
                    f"{path} has two files {name}; unpack it and give the folder of one model"
                )
            with source, (folder / name).open("wb") as stream:
                shutil.copyfileobj(source, stream)
