"""Open-Unmix: a `.pth` file per stem, alone or in a folder, with or without its JSON files.

Understood are the folders of its training script (`separator.json`, `TARGET.json`,
`TARGET*.pth`), folders and single files as torch hub keeps them (`TARGET-HASH.pth`), with the
stem taken from the file's name. What the tensors tell is taken from them: sizes, layers, channels,
direction. (The training script writes `unidirectional` into `TARGET.json` whether or not the
network was built so.) The rate and the hop are those of `separator.json`; else of the catalog, if
the files are known to it; else the rate that old files carry, or 44100 Hz, and a quarter of the
window.

Files of 2019 hold the sample rate and two STFT windows besides the network; exactly those, and
the counters of the batch normalisation, may be missing or too much.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.catalog import CatalogEntry, SourceFile, known_entry
from desmezcla.releases.checkpoint import check_finite, check_fit, save_release, shapes
from desmezcla.releases.release import About, Release, about_of, explain
from desmezcla.releases.torch_file import read_state

USUAL_ORDER = ("vocals", "drums", "bass", "other")
SEPARATOR_FILE = "separator.json"
EXTRAS = frozenset({"sample_rate", "stft.window", "transform.0.window"})
COUNTER = "num_batches_tracked"
BANDWIDTH_HZ = 16000.0


class _Separator(BaseModel):
    """What is needed of `separator.json`, or of the arguments in `TARGET.json`."""

    nfft: int = Field(gt=0)
    nhop: int = Field(gt=0)
    sample_rate: float | None = Field(None, gt=0)


def recognises(path: Path) -> bool:
    """Return whether the path is a `.pth` file or a folder with some."""
    return path.suffix == ".pth" if path.is_file() else any(path.glob("*.pth"))


def read(path: Path, name: str, target: Path, *, replace: bool) -> Release:
    """Turn a file or a folder of Open-Unmix into a release folder.

    Errors:
        ReleaseError: if a file cannot be read, holds anything but tensors, or does not fit.
    """
    files = stem_files(path)
    folder = path if path.is_dir() else path.parent
    about, settings = About(name=name, description="Imported from Open-Unmix."), {}
    if entry := known_entry(files.values()):
        about, settings = about_of(entry, name=name), dict(entry.settings)
        if set(files) < set(entry.stems):
            # The scores are those of all stems together in one Wiener filter.
            about = about.model_copy(update={"scores": ()})
        files = {stem: files[stem] for stem in entry.stems if stem in files}
    settings |= _json_settings(folder, next(iter(files)), single=path.is_file())
    return _convert(files, settings, about, target, replace=replace)


def convert(
    files: Sequence[tuple[SourceFile, Path]],
    entry: CatalogEntry,
    target: Path,
    *,
    replace: bool,
) -> Release:
    """Turn the files of a catalog entry into a release folder.

    Errors:
        ReleaseError: as `read`.
    """
    paths = {source.stem: path for source, path in files if source.stem}
    stems = {stem: paths[stem] for stem in entry.stems}
    return _convert(stems, entry.settings, about_of(entry), target, replace=replace)


def stem_files(path: Path) -> dict[str, Path]:
    """Return the file of each stem, the usual four first and in their order.

    Errors:
        ReleaseError: if a stem has no name or two files.
    """
    found: dict[str, Path] = {}
    for file in sorted(path.glob("*.pth")) if path.is_dir() else [path]:
        match = re.fullmatch(r"([A-Za-z0-9][A-Za-z0-9_-]*?)(?:[-_][0-9a-f]{8})?\.pth", file.name)
        if match is None:
            raise ReleaseError(
                f"{file} does not tell its stem; call it STEM.pth, with letters, digits, '-', '_'"
            )
        stem = match[1]
        if stem in found:
            raise ReleaseError(
                f"{file.name} and {found[stem].name} in {file.parent} are both for the stem "
                f"{stem!r}; put those of one model in a folder of their own"
            )
        found[stem] = file
    if not found:
        raise ReleaseError(f"{path} holds no .pth file; give the folder of the checkpoints")
    order = [stem for stem in USUAL_ORDER if stem in found]
    return {stem: found[stem] for stem in (*order, *(s for s in found if s not in order))}


def _convert(
    files: dict[str, Path],
    settings: dict[str, Any],
    about: About,
    target: Path,
    *,
    replace: bool,
) -> Release:
    states = {stem: read_state(path) for stem, path in files.items()}
    fields: dict[str, Any] = {}
    for stem, state in states.items():
        check_finite(state, str(files[stem]))
        found = _network_fields(state, settings, files[stem])
        if fields and found != fields:
            raise ReleaseError(
                f"{files[stem]} has the sizes {found}, but the stem before it {fields}; import "
                "stems of different sizes one by one"
            )
        fields = found
    origin = str(next(iter(files.values())).parent)
    try:
        with torch.random.fork_rng(devices=[]):
            model = build_model("open_unmix", stems=tuple(files), **fields)
    except ParameterError as error:
        raise ReleaseError(f"{origin}: the files cannot be used: {error}") from error
    expected = shapes(model)
    tensors = {key: torch.tensor(0) for key in expected if key.endswith(COUNTER)}
    for stem, state in states.items():
        kept = (key for key in state if key not in EXTRAS and not key.endswith(COUNTER))
        tensors |= {f"networks.stem_{stem}.{key}": state[key] for key in kept}
    check_fit(expected, tensors, origin)
    model.load_state_dict(tensors, strict=True)
    return save_release(model, target, about, replace=replace)


def _network_fields(
    state: dict[str, Tensor], settings: dict[str, Any], path: Path
) -> dict[str, Any]:
    """Return the fields of `open_unmix.Config` that fit the tensors of one stem."""
    try:
        bins, input_bins = len(state["output_scale"]), len(state["input_mean"])
        hidden_size, inputs = state["fc1.weight"].shape
        channels = inputs // input_bins
        rate = int(settings.get("sample_rate") or state.get("sample_rate", torch.tensor(44100)))
        if rate <= 0:
            raise ValueError(f"sample_rate is {rate}")
    except (KeyError, TypeError, ValueError, ArithmeticError, RuntimeError) as error:
        raise ReleaseError(
            f"{path} is no network of Open-Unmix: output_scale, input_mean and fc1.weight must be "
            f"there with their shapes ({error}); give a file of Open-Unmix"
        ) from error
    n_fft = 2 * (bins - 1)
    if settings.get("n_fft", n_fft) != n_fft:
        raise ReleaseError(
            f"{path} has {bins} frequency bins, which is n_fft={n_fft}, but its settings say "
            f"{settings['n_fft']}; correct {SEPARATOR_FILE}"
        )
    layers = sum(re.fullmatch(r"lstm\.weight_ih_l\d+", key) is not None for key in state)
    unidirectional = "lstm.weight_ih_l0_reverse" not in state
    # The matrices that grow with products of sizes are checked before a network with these sizes
    # is built, for which there might not be enough memory.
    cell = hidden_size if unidirectional else hidden_size // 2
    large = {f"lstm.weight_hh_l{layer}": (4 * cell, cell) for layer in range(layers)}
    large |= {"fc2.weight": (hidden_size, 2 * hidden_size)}
    large |= {"fc3.weight": (bins * channels, hidden_size)}
    check_fit(large, {key: state[key] for key in large if key in state}, str(path))
    return {
        "sample_rate": rate,
        "channels": channels,
        "n_fft": n_fft,
        "hop_length": settings.get("hop_length", n_fft // 4),
        "bandwidth_hz": _bandwidth_hz(bins, input_bins, n_fft, rate),
        "hidden_size": hidden_size,
        "layers": layers,
        "unidirectional": unidirectional,
    }


def _bandwidth_hz(bins: int, input_bins: int, n_fft: int, rate: int) -> float:
    """Return a bandwidth of so many bins: the usual one, or the middle above the last bin."""
    usual = min(bins, int(BANDWIDTH_HZ * n_fft / rate) + 1) if n_fft else 0
    return BANDWIDTH_HZ if usual == input_bins else (input_bins - 0.5) * rate / max(n_fft, 1)


def _json_settings(folder: Path, stem: str, *, single: bool) -> dict[str, Any]:
    """Return the rate, window and hop of the JSON files, as far as there are any."""
    for file, key in ((SEPARATOR_FILE, None), (f"{stem}.json", "args")):
        path = folder / file
        # Beside a single file the folder's JSON is only about it if it was trained there.
        if not path.is_file() or (single and not (folder / f"{stem}.json").is_file()):
            continue
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            found = _Separator.model_validate(content[key] if key else content)
        except ValidationError as error:
            raise ReleaseError(f"{path}: {explain(error)}; correct the file") from error
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ReleaseError(f"{path} cannot be read as JSON ({error}); correct it") from error
        settings = {"n_fft": found.nfft, "hop_length": found.nhop}
        return settings | ({"sample_rate": round(found.sample_rate)} if found.sample_rate else {})
    return {}
