"""From a release to a model and back: safetensors and YAML, loaded strictly."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import SeparationModel, build_model
from desmezcla.releases.release import (
    CARD_FILE,
    CONFIG_FILE,
    RELEASE_FILE,
    WEIGHTS_FILE,
    About,
    Release,
    ReleaseFile,
    Summary,
    about_of,
    card_text,
    file_digest,
    read_release,
    read_yaml,
    write_yaml,
)
from desmezcla.releases.store import check_name, find_release, new_folder, verify_release

# What has been verified in this process: a change of size or time means another look.
_verified: dict[Path, tuple[tuple[int, int], ...]] = {}


def load_model(name: str | Path | Release) -> SeparationModel[Any]:
    """Return the model of a release, in evaluation mode, with its trained weights.

    The checksums of the files are compared with those of `release.yaml` on the first load in a
    process (0.1 s for 140 MB or so), and again when a file has changed since.

    Args:
        name: Name of a release, path of a release folder, or what `find_release` returned.

    Errors:
        ReleaseError: if there is no such release, it is a bag, or a file of it is damaged.
    """
    release = name if isinstance(name, Release) else find_release(name)
    if release.info.members:
        names = ", ".join(member.release for member in release.info.members)
        raise ReleaseError(
            f"release {release.name!r} is a bag of several models; load its members one by one "
            f"({names}), or separate with it"
        )
    _verify_once(release)
    model = _build(release)
    path = release.folder / WEIGHTS_FILE
    state = read_tensors(path)
    check_fit(shapes(model), state, str(path))
    model.load_state_dict(state, strict=True)
    return model.eval()


def save_release(
    model: SeparationModel[Any],
    folder: Path,
    about: About,
    *,
    card: str | None = None,
    replace: bool = False,
) -> Release:
    """Write a model as a release folder, which appears only when it is complete.

    Args:
        model: The model; its architecture must be a file of `models/`.
        folder: Where to; it must not exist, or `replace` is given.
        about: What people state about it: name, licence, training data, scores.
        card: Text of `card.md`; without it, one that says what `release.yaml` knows.
        replace: Replace a folder that exists.

    Errors:
        ParameterError: if the name is not allowed.
        ReleaseError: if the folder exists or cannot be written, or a weight is NaN or infinite.
    """
    check_name(about.name)
    state = model.state_dict()
    check_finite(state, f"release {about.name!r}")
    summary = summary_of(model, about)
    with new_folder(folder, replace=replace) as work:
        # A tensor may be a view of another's memory, which the format refuses to write.
        tensors = {
            key: value.detach().cpu().clone(memory_format=torch.contiguous_format)
            for key, value in state.items()
        }
        # Not `save_file`, whose files only their owner may read.
        (work / WEIGHTS_FILE).write_bytes(save(tensors, metadata={"format": "pt"}))
        write_yaml(
            work / CONFIG_FILE,
            {"model": summary.model, **model.config.model_dump(mode="json")},
        )
        text = card_text(summary) if card is None else card
        (work / CARD_FILE).write_text(text, encoding="utf-8", newline="\n")
        write_release_file(work, summary)
    return read_release(folder)


def summary_of(model: SeparationModel[Any], about: About) -> Summary:
    """Return what people state about a model, and what follows from it."""
    return Summary(
        **about_of(about).model_dump(),
        model=type(model).__module__.rpartition(".")[2],
        stems=model.spec.stems,
        sample_rate=model.spec.sample_rate,
        channels=model.spec.channels,
        causal=model.spec.causal,
    )


def write_release_file(folder: Path, summary: Summary) -> None:
    """Write `release.yaml` beside the files of a release, with their checksums."""
    files = (WEIGHTS_FILE, CONFIG_FILE, CARD_FILE)
    content = summary.model_dump(mode="json") | {
        "sha256": {file: file_digest(folder / file) for file in files if (folder / file).is_file()}
    }
    ReleaseFile.model_validate(content)
    write_yaml(folder / RELEASE_FILE, content)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a safetensors file.

    Errors:
        ReleaseError: if it cannot be read or is not such a file.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as error:
        raise ReleaseError(
            f"{path} cannot be read as safetensors ({error}); install the release again"
        ) from error


def check_fit(
    expected: Mapping[str, Sequence[int]], state: Mapping[str, Tensor], origin: str
) -> None:
    """Check that a state dict has tensors of the expected names and shapes, and no others.

    Errors:
        ReleaseError: if a tensor is missing, is too much or has another shape.
    """
    problems = [
        *_names("missing", expected.keys() - state.keys()),
        *_names("unknown", state.keys() - expected.keys()),
        *(
            f"{key} has the shape {list(state[key].shape)} instead of {list(shape)}"
            for key, shape in expected.items()
            if key in state and state[key].shape != tuple(shape)
        ),
    ]
    if problems:
        more = f"; and {len(problems) - 4} more" if len(problems) > 4 else ""
        raise ReleaseError(
            f"{origin} does not fit its model: {'; '.join(problems[:4])}{more}; "
            "it belongs to another model or version, or it is damaged"
        )


def shapes(model: SeparationModel[Any]) -> dict[str, Sequence[int]]:
    """Return the shape of every tensor of a model, by name."""
    return {key: value.shape for key, value in model.state_dict().items()}


def _names(kind: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"tensors {kind}: {', '.join(names[:3])}{more}"]


def check_finite(state: Mapping[str, Tensor], origin: str) -> None:
    """Check that all weights are numbers.

    Errors:
        ReleaseError: if one is NaN or infinite.
    """
    for key, value in state.items():
        if not bool(torch.isfinite(value).all()):
            raise ReleaseError(
                f"{origin}: the tensor {key} has NaN or infinite values; such a model gives no "
                "sound, so take an earlier checkpoint"
            )


def _verify_once(release: Release) -> None:
    folder = release.folder.resolve()
    status = [path.stat() for file in release.info.sha256 if (path := folder / file).exists()]
    stamp = tuple((entry.st_size, entry.st_mtime_ns) for entry in status)
    if _verified.get(folder) != stamp:
        verify_release(release)
        _verified[folder] = stamp


def _build(release: Release) -> SeparationModel[Any]:
    """Return the untrained model of `config.yaml`, checked against `release.yaml`."""
    path = release.folder / CONFIG_FILE
    config = read_yaml(path)
    if not isinstance(config, dict) or not isinstance(config.get("model"), str):
        raise ReleaseError(f"{path} has no line 'model: NAME'; install the release again")
    fields = {str(key): value for key, value in config.items() if key != "model"}
    try:
        # The random numbers of initial weights that are replaced at once are not the user's.
        with torch.random.fork_rng(devices=[]):
            model = build_model(config["model"], **fields)
    except ParameterError as error:
        raise ReleaseError(
            f"{path} cannot be built: {error}; the release may need a newer desmezcla"
        ) from error
    spec, info = model.spec, release.info
    if (spec.stems, spec.sample_rate, spec.channels) != (
        info.stems,
        info.sample_rate,
        info.channels,
    ):
        raise ReleaseError(
            f"{release.folder}: {CONFIG_FILE} gives {spec.stems} at {spec.sample_rate} Hz with "
            f"{spec.channels} channels, but {RELEASE_FILE} says {info.stems} at "
            f"{info.sample_rate} Hz with {info.channels}; install the release again"
        )
    return model
