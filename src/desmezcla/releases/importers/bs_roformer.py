"""BS-RoFormer: a `.ckpt` file and the YAML file that it was trained with.

Such pairs come from the program Music-Source-Separation-Training and its like. The YAML file is
the one of the same name, or the only one in the folder. It holds tuples with a tag of Python's,
which is the only such tag that is understood. The options of the network are read strictly, those
of its losses and of how it is computed are passed over by name; of the rest only the sample rate,
the length of a chunk and the names of the stems are used.

Checkpoints of other networks that such programs train (Mel-Band RoFormer, options that add layers)
are refused.
"""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.models.bs_roformer import BANDS
from desmezcla.releases.catalog import CatalogEntry, SourceFile
from desmezcla.releases.checkpoint import check_finite, check_fit, save_release, shapes
from desmezcla.releases.release import About, Release, about_of, explain
from desmezcla.releases.torch_file import read_torch_file

# What the network has where its YAML file says nothing, by the names of that file.
DEFAULTS: dict[str, Any] = {
    "stereo": False,
    "num_stems": 1,
    "time_transformer_depth": 2,
    "freq_transformer_depth": 2,
    "linear_transformer_depth": 0,
    "freqs_per_bands": BANDS,
    "dim_head": 64,
    "heads": 8,
    "attn_dropout": 0.0,
    "ff_dropout": 0.0,
    "stft_n_fft": 2048,
    "stft_hop_length": 512,
    "stft_win_length": 2048,
    "stft_normalized": False,
    "mask_estimator_depth": 2,
    "mlp_expansion_factor": 4,
    "skip_connection": False,
}
RENAMED = {
    "stft_n_fft": "n_fft",
    "stft_hop_length": "hop_length",
    "stft_win_length": "win_length",
    "stft_normalized": "normalized",
}
IGNORED = re.compile(
    r"multi_stft_\w+|dim_freqs_in|flash_attn|sage_attention|use_torch_checkpoint|sample_rate"
)
STATE_KEYS = ("state_dict", "model_state_dict", "state")
PREFIXES = ("model.", "module.")
WEIGHTS = (".ckpt", ".pt", ".pth", ".th")
SETTINGS = (".yaml", ".yml")
# Keys that one of the two band-split networks has.
OWN_KEY = re.compile(r"^\s+(freqs_per_bands|num_bands)\s*:", re.MULTILINE)


class _Audio(BaseModel):
    sample_rate: int = Field(44100, gt=0)
    chunk_size: int = Field(gt=0)


class _Training(BaseModel):
    instruments: list[str] = Field(min_length=1)
    target_instrument: str | None = None


class _Settings(BaseModel):
    """What is needed of the YAML file."""

    audio: _Audio
    model: dict[str, Any]
    training: _Training


class _Loader(yaml.SafeLoader):
    """Knows one tag of Python's beside the usual ones."""


def _tuple(loader: _Loader, node: yaml.SequenceNode) -> tuple[Any, ...]:
    return tuple(loader.construct_sequence(node))


_Loader.add_constructor("tag:yaml.org,2002:python/tuple", _tuple)


def recognises(path: Path) -> bool:
    """Return whether the path is, or holds, a `.ckpt` beside the YAML of a band-split network."""
    if not (path.suffix == ".ckpt" if path.is_file() else any(path.glob("*.ckpt"))):
        return False
    try:
        _, settings = pair_of_files(path)
        return OWN_KEY.search(settings.read_text(encoding="utf-8")) is not None
    except (ReleaseError, OSError, UnicodeDecodeError):
        return False


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Turn a checkpoint and its YAML file into a release folder.

    Errors:
        ReleaseError: if a file is missing, cannot be read or does not fit the other.
    """
    weights, settings = pair_of_files(path)
    about = About(name=name, description="Imported from a BS-RoFormer checkpoint.")
    return _convert(weights, config_fields(settings), about, target, replace=replace)


def convert(
    files: Sequence[tuple[SourceFile, Path]],
    entry: CatalogEntry,
    target: Path,
    *,
    replace: bool,
) -> Release:
    """Turn the file of a catalog entry into a release folder; the entry has the settings.

    Errors:
        ReleaseError: as `read`.
    """
    ((_, weights),) = files
    fields = {
        "stems": entry.stems,
        "sample_rate": entry.sample_rate,
        "channels": entry.channels,
        **entry.settings,
    }
    return _convert(weights, fields, about_of(entry), target, replace=replace)


def pair_of_files(path: Path) -> tuple[Path, Path]:
    """Return the checkpoint and the YAML file that belong to a path.

    Errors:
        ReleaseError: if there is not exactly one of each.
    """
    weights = path if path.is_file() else _only(path, WEIGHTS, "checkpoint")
    for suffix in SETTINGS:
        if weights.with_suffix(suffix).is_file():
            return weights, weights.with_suffix(suffix)
    return weights, _only(weights.parent, SETTINGS, "YAML file that it was trained with")


def _only(folder: Path, suffixes: tuple[str, ...], what: str) -> Path:
    found = sorted(file for file in folder.iterdir() if file.suffix in suffixes)
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ReleaseError(
            f"{folder} must hold one {what} ({', '.join(suffixes)}), but holds {names}; put the "
            "checkpoint and its YAML file into a folder of their own, with the same name"
        )
    return found[0]


def config_fields(path: Path) -> dict[str, Any]:
    """Return the fields of `bs_roformer.Config` that a YAML file stands for.

    Errors:
        ReleaseError: if it cannot be read, or describes another network.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
        settings = _Settings.model_validate(content)
    except ValidationError as error:
        raise ReleaseError(
            f"{path} does not describe a checkpoint: {explain(error)}; it must have the keys "
            "audio, model and training of Music-Source-Separation-Training"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ReleaseError(
            f"{path} cannot be read as YAML without running code ({' '.join(str(error).split())}); "
            "of the tags of Python only !!python/tuple is allowed, so take the others out"
        ) from error
    options = _options(settings.model, path)
    stems = _stems(settings.training, options.pop("num_stems"), path)
    channels = 2 if options.pop("stereo") else 1
    segment_s = settings.audio.chunk_size / settings.audio.sample_rate
    return {
        "stems": stems,
        "sample_rate": settings.audio.sample_rate,
        "channels": channels,
        "segment_s": segment_s,
        "context_s": segment_s / 8,
        **{RENAMED.get(key, key): value for key, value in options.items()},
    }


def _options(model: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the options of the network, with those that the file leaves out."""
    if "num_bands" in model:
        raise ReleaseError(
            f"{path} describes a Mel-Band RoFormer (num_bands={model['num_bands']}), whose bands "
            "overlap; that is another network than BS-RoFormer, and desmezcla does not have it"
        )
    options = DEFAULTS | {key: x for key, x in model.items() if not IGNORED.fullmatch(key)}
    if unknown := sorted(options.keys() - DEFAULTS.keys() - {"dim", "depth"}):
        raise ReleaseError(
            f"{path} has options of the network that are not known: {', '.join(unknown)}; they "
            "belong to another version of BS-RoFormer than published checkpoints have"
        )
    if missing := {"dim", "depth"} - options.keys():
        raise ReleaseError(f"{path} does not say the network's {' and '.join(sorted(missing))}")
    if options.pop("linear_transformer_depth") != 0:
        raise ReleaseError(
            f"{path}: linear_transformer_depth={model['linear_transformer_depth']} must be 0, as "
            "in all published checkpoints; desmezcla does not have linear transformers"
        )
    return options


def _stems(training: _Training, count: int, path: Path) -> tuple[str, ...]:
    """Return the names of the stems that the network gives out."""
    names = training.instruments
    if count == 1 and training.target_instrument:
        names = [training.target_instrument]
    if len(names) != count:
        raise ReleaseError(
            f"{path}: num_stems={count}, but training.instruments names {', '.join(names)}; name "
            "as many, or the one as training.target_instrument"
        )
    return tuple(re.sub(r"[^a-z0-9_-]+", "_", name.strip().lower()) for name in names)


def _convert(
    path: Path, fields: dict[str, Any], about: About, target: Path, *, replace: bool
) -> Release:
    state = state_of(path)
    check_finite(state, str(path))
    try:
        # First without memory for the weights, since nobody knows how large they claim to be.
        with torch.random.fork_rng(devices=[]), torch.device("meta"):
            expected = shapes(build_model("bs_roformer", **fields))
        check_fit(expected, state, str(path))
        with torch.random.fork_rng(devices=[]):
            model = build_model("bs_roformer", **fields)
    except (ParameterError, RuntimeError) as error:  # PyTorch's, for sizes that overflow
        raise ReleaseError(f"{path}: its settings cannot be used: {error}") from error
    model.load_state_dict(state, strict=True)
    return save_release(model, target, about, replace=replace)


def state_of(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, by the names that they have in the network.

    Programs store them alone, or under a key beside what they need to go on with training, and a
    wrapper of the network may have put its own name in front of all names.

    Errors:
        ReleaseError: if the file cannot be read or has no such tensors.
    """
    content = read_torch_file(path)
    for key in STATE_KEYS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise ReleaseError(
            f"{path} is no state dict, and has none as {', '.join(STATE_KEYS)}: it must map names "
            "to tensors; save model.state_dict() alone"
        )
    for prefix in PREFIXES:
        if content and all(key.startswith(prefix) for key in content):
            content = {key.removeprefix(prefix): value for key, value in content.items()}
    return content
