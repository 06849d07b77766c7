from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.models import build_model
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About, Release

SMALL = {"n_fft": 64, "hop_length": 16, "hidden_size": 4, "layers": 1}


def saved(folder: Path, **fields: Any) -> Release:
    model = build_model("open_unmix", **SMALL | fields)
    return save_release(model, folder, About(name="small", license="MIT", trained_on="nothing"))


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    stems=st.lists(
        st.sampled_from(["vocals", "drums", "bass", "other", "a-b_9"]), min_size=1, unique=True
    ),
    channels=st.sampled_from([1, 2]),
    unidirectional=st.booleans(),
    sample_rate=st.integers(8000, 192000),
)
def test_a_model_is_the_same_after_saving_and_loading(
    tmp_path_factory: pytest.TempPathFactory, **fields: Any
) -> None:
    model = build_model("open_unmix", **SMALL | fields)
    folder = tmp_path_factory.mktemp("r") / "small"
    release = save_release(model, folder, About(name="small"))
    loaded = load_model(release)
    assert not loaded.training
    assert loaded.config == model.config
    assert loaded.spec == model.spec
    assert (release.info.stems, release.info.channels) == (model.spec.stems, model.spec.channels)
    assert loaded.state_dict().keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)


def test_the_same_model_gives_the_same_bytes(tmp_path: Path) -> None:
    model = build_model("open_unmix", **SMALL)
    first = save_release(model, tmp_path / "a", About(name="small"))
    second = save_release(model, tmp_path / "b", About(name="small"))
    assert first.info == second.info
    assert first.sha256 == second.sha256
    modes = {path.stat().st_mode for path in first.folder.iterdir()}
    assert len(modes) == 1  # whoever may read one file may read them all


def test_loading_leaves_the_random_numbers_alone(tmp_path: Path) -> None:
    release = saved(tmp_path / "small")
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    load_model(release)
    assert torch.equal(torch.rand(3), expected)


def test_a_model_without_tensors_has_an_empty_file(tmp_path: Path) -> None:
    release = save_release(build_model("center"), tmp_path / "c", About(name="c"))
    assert (release.folder / "model.safetensors").stat().st_size < 100
    assert list(load_model(release).parameters()) == []


@pytest.mark.parametrize("file", ["model.safetensors", "config.yaml", "card.md"])
def test_a_changed_or_missing_file_is_noticed_also_after_a_load(tmp_path: Path, file: str) -> None:
    release = saved(tmp_path / "small")
    load_model(release)
    path = release.folder / file
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(ReleaseError, match=rf"{file} has the sha256"):
        load_model(release)
    path.unlink()
    with pytest.raises(ReleaseError, match=rf"{file} cannot be read"):
        load_model(release)


def rewritten(release: Release, file: str, content: bytes) -> Release:
    """Change a file and its checksum, as somebody would who edits a release."""
    import hashlib

    (release.folder / file).write_bytes(content)
    digest = hashlib.sha256(content).hexdigest()
    info = release.info.model_copy(update={"sha256": release.info.sha256 | {file: digest}})
    return Release(release.folder, info)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_size": 8}, "has the shape"),
        ({"stems": ["vocals"]}, "release.yaml says"),
        ({"layers": 2}, "tensors missing"),
        ({"hiden_size": 8}, "hiden_size=8"),
        ({"model": "nonsense"}, "cannot be built"),
        ({"model": 3}, "no line 'model: NAME'"),
        ({"sample_rate": 48000}, "release.yaml says"),
    ],
)
def test_a_configuration_that_does_not_fit_is_an_error(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    release = saved(tmp_path / "small")
    config = yaml.safe_load((release.folder / "config.yaml").read_text())
    edited = rewritten(release, "config.yaml", yaml.safe_dump(config | change).encode())
    with pytest.raises(ReleaseError, match=message):
        load_model(edited)


def test_weights_that_are_no_safetensors_are_an_error(tmp_path: Path) -> None:
    release = saved(tmp_path / "small")
    for content in (b"", b"garbage that is long enough", b"\xff" * 100):
        with pytest.raises(ReleaseError, match="cannot be read as safetensors"):
            load_model(rewritten(release, "model.safetensors", content))


def test_weights_that_are_not_numbers_are_not_saved(tmp_path: Path) -> None:
    model = build_model("open_unmix", **SMALL)
    with torch.no_grad():
        next(model.parameters()).view(-1)[0] = float("nan")
    with pytest.raises(ReleaseError, match="NaN or infinite"):
        save_release(model, tmp_path / "r", About(name="small"))
    assert list(tmp_path.iterdir()) == []


def test_a_folder_is_replaced_only_on_demand(tmp_path: Path) -> None:
    first = saved(tmp_path / "small")
    with pytest.raises(ReleaseError, match=r"exists.*--force"):
        saved(tmp_path / "small")
    model = build_model("open_unmix", **SMALL)
    second = save_release(model, tmp_path / "small", About(name="small"), replace=True)
    assert second.sha256 != first.sha256
    assert [path.name for path in tmp_path.iterdir()] == ["small"]


def test_a_failure_while_writing_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import desmezcla.releases.checkpoint as module

    def full_disk(path: Path, content: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_yaml", full_disk)
    with pytest.raises(ReleaseError, match="No space left"):
        saved(tmp_path / "small")
    assert list(tmp_path.iterdir()) == []


def test_a_name_is_checked(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="not end with a dot"):
        save_release(build_model("open_unmix", **SMALL), tmp_path / "r", About(name="a."))
