import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch import Tensor

from desmezcla.errors import ParameterError, ReleaseError
from desmezcla.releases import catalog as catalog_module
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release, list_formats
from desmezcla.releases.importers.open_unmix import stem_files
from desmezcla.releases.release import file_digest
from desmezcla.releases.store import find_release, user_folder

MakeState = Callable[..., dict[str, Tensor]]


@pytest.fixture
def trained(tmp_path: Path, open_unmix_state: MakeState) -> Path:
    """Return a folder as Open-Unmix's training script leaves it, for two stems."""
    return write_folder(tmp_path / "trained", open_unmix_state, ("drums", "vocals"))


def write_folder(
    folder: Path,
    make_state: MakeState,
    stems: tuple[str, ...],
    *,
    separator: dict[str, Any] | None = None,
    **sizes: Any,
) -> Path:
    folder.mkdir()
    arguments = {"nfft": 64, "nhop": 24, "unidirectional": sizes.get("unidirectional", False)}
    settings = {"nfft": 64, "nhop": 24, "sample_rate": 48000.0, "nb_channels": 2}
    (folder / "separator.json").write_text(json.dumps(separator or settings))
    for seed, stem in enumerate(stems):
        state = make_state(seed=seed, **sizes)
        torch.save(state, folder / f"{stem}.pth")
        torch.save({"epoch": 1, "state_dict": state}, folder / f"{stem}.chkpnt")
        (folder / f"{stem}.json").write_text(json.dumps({"args": arguments, "best_loss": 1.0}))
    return folder


@pytest.mark.parametrize("unidirectional", [False, True])
def test_a_training_folder_is_imported_tensor_by_tensor(
    tmp_path: Path, open_unmix_state: MakeState, unidirectional: bool
) -> None:
    stems = ("other", "bass", "vocals", "claps", "drums")
    folder = write_folder(
        tmp_path / "f", open_unmix_state, stems, unidirectional=unidirectional, layers=2
    )
    release = import_release(folder, "mine")
    assert release.folder == user_folder() / "mine"
    assert release.info.stems == ("vocals", "drums", "bass", "other", "claps")
    model = load_model("mine")
    config = model.config.model_dump()
    expected = {
        "sample_rate": 48000,
        "n_fft": 64,
        "hop_length": 24,
        "hidden_size": 6,
        "layers": 2,
        "unidirectional": unidirectional,
        "wiener_iterations": 1,
        "wiener_window_frames": 300,
    }
    assert {key: config[key] for key in expected} == expected
    state = model.state_dict()
    for seed, stem in enumerate(stems):
        source = open_unmix_state(seed=seed, unidirectional=unidirectional, layers=2)
        for key, value in source.items():
            assert torch.equal(state[f"networks.stem_{stem}.{key}"], value)
    assert model(torch.zeros(1, 2, 1000)).shape == (1, 5, 2, 1000)


def test_the_direction_is_that_of_the_tensors(tmp_path: Path, open_unmix_state: MakeState) -> None:
    # The original script writes the option down, but builds the network without it.
    folder = write_folder(tmp_path / "f", open_unmix_state, ("vocals",))
    text = (folder / "vocals.json").read_text()
    (folder / "vocals.json").write_text(text.replace("false", "true"))
    import_release(folder, "mine")
    assert not load_model("mine").config.model_dump()["unidirectional"]


def test_old_extras_are_dropped_and_counters_may_be_missing(
    tmp_path: Path, open_unmix_state: MakeState
) -> None:
    state = open_unmix_state(n_fft=64)
    old = {k: v for k, v in state.items() if "num_batches_tracked" not in k}
    old |= {
        "sample_rate": torch.tensor(22050),
        "stft.window": torch.ones(64),
        "transform.0.window": torch.ones(64),
    }
    # Files of 2019 are plain pickles, not zip archives.
    torch.save(old, tmp_path / "vocals.pth", _use_new_zipfile_serialization=False)
    release = import_release(tmp_path / "vocals.pth", "mine")
    assert (release.info.stems, release.info.sample_rate) == (("vocals",), 22050)
    model = load_model("mine")
    assert model.config.model_dump()["hop_length"] == 16
    assert torch.equal(model.state_dict()["networks.stem_vocals.fc1.weight"], state["fc1.weight"])


def test_the_number_of_input_bins_is_kept(tmp_path: Path, open_unmix_state: MakeState) -> None:
    for bins in (1, 7, 24, 32, 33):
        torch.save(open_unmix_state(bins=bins, channels=1), tmp_path / "vocals.pth")
        import_release(tmp_path / "vocals.pth", "mine", replace=True)
        assert load_model("mine").state_dict()["networks.stem_vocals.input_mean"].shape == (bins,)


def test_a_torch_hub_folder_gives_its_stems(tmp_path: Path, open_unmix_state: MakeState) -> None:
    for name in ("vocals-b62c91c0.pth", "speech_f5e0d9f0.pth", "drums.pth"):
        torch.save(open_unmix_state(), tmp_path / name)
    assert list(stem_files(tmp_path)) == ["vocals", "drums", "speech"]
    assert import_release(tmp_path, "mine").info.sample_rate == 44100


def test_files_of_the_catalog_are_known_by_their_checksums(
    tmp_path: Path, open_unmix_state: MakeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    files = []
    for seed, stem in enumerate(("noise", "speech")):
        torch.save(open_unmix_state(channels=1, seed=seed), folder / f"{stem}.pth")
        files.append(
            {
                "url": f"https://example.org/{stem}.pth",
                "stem": stem,
                "sha256": file_digest(folder / f"{stem}.pth"),
            }
        )
    entry = {
        "name": "known",
        "stems": ["speech", "noise"],
        "sample_rate": 16000,
        "channels": 1,
        "license": "MIT",
        "scores": [{"dataset": "D", "averaging": "A", "source": "S", "values_db": {"noise": 1}}],
        "format": "open_unmix",
        "settings": {"sample_rate": 16000, "n_fft": 64, "hop_length": 32},
        "size_bytes": 1,
        "files": files,
    }
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "all.yaml").write_text(
        yaml.safe_dump({"aliases": {}, "releases": [entry]})
    )
    monkeypatch.setattr(catalog_module, "CATALOG", tmp_path / "catalog")
    monkeypatch.setattr(catalog_module, "_content", catalog_module._content.__wrapped__)
    both = import_release(folder, "both").info
    assert (both.name, both.license, both.stems) == ("both", "MIT", ("speech", "noise"))
    assert both.sample_rate == 16000
    assert len(both.scores) == 1
    assert load_model("both").config.model_dump()["hop_length"] == 32
    # The scores are those of all stems together.
    assert import_release(folder / "noise.pth", "one").info.scores == ()
    torch.save(open_unmix_state(seed=9), folder / "noise.pth")
    with pytest.raises(ReleaseError, match="is not the file of known that its name says"):
        import_release(folder, "third")


class Hostile:
    """Creates a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


@pytest.mark.parametrize("zipped", [True, False])
def test_a_hostile_pickle_is_refused_and_does_not_run(
    tmp_path: Path, open_unmix_state: MakeState, zipped: bool
) -> None:
    trap = tmp_path / "trap"
    state = open_unmix_state() | {"extra": Hostile(trap)}
    torch.save(state, tmp_path / "vocals.pth", _use_new_zipfile_serialization=zipped)
    with pytest.raises(ReleaseError, match=r"was refused: .* run code"):
        import_release(tmp_path / "vocals.pth", "mine")
    assert not trap.exists()
    torch.load(tmp_path / "vocals.pth", weights_only=False)
    assert trap.exists()  # the trap works: the free reader springs it
    assert not user_folder().exists()


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data/0", b"\0" * 5_000_000)


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (lambda path: path.write_bytes(b""), "cannot be read as a PyTorch checkpoint"),
        (lambda path: path.write_bytes(b"RIFF\0\0\0\0WAVE" * 50), "was refused|cannot be read"),
        (lambda path: torch.save([1, 2], path), "is no state dict"),
        (lambda path: torch.save({"epoch": 1}, path), "is no state dict"),
        (lambda path: torch.save({"a": torch.ones(2).to_sparse()}, path), "was refused"),
        (lambda path: torch.save({"a": torch.ones(2, dtype=torch.cfloat)}, path), "was refused"),
        (lambda path: torch.save({"a": torch.ones(2, device="meta")}, path), "was refused"),
        (lambda path: torch.save({}, path), "is no network of Open-Unmix"),
        (zip_bomb, "is compressed"),
    ],
)
def test_other_files_are_refused(
    tmp_path: Path, write: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "vocals.pth")
    with pytest.raises(ReleaseError, match=message):
        import_release(tmp_path / "vocals.pth", "mine")
    assert not user_folder().exists()


@pytest.mark.parametrize("kept", [0.2, 0.9, 0.999])
@pytest.mark.parametrize("zipped", [True, False])
def test_a_truncated_file_is_refused(
    tmp_path: Path, open_unmix_state: MakeState, kept: float, zipped: bool
) -> None:
    path = tmp_path / "vocals.pth"
    torch.save(open_unmix_state(), path, _use_new_zipfile_serialization=zipped)
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(ReleaseError, match=r"vocals\.pth"):
        import_release(path, "mine")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc2.weight": None}, r"tensors missing: fc2\.weight"),
        ({"lstm.weight_hh_l0": None}, "tensors missing"),
        ({"bn2.bias": None}, r"tensors missing: networks\.stem_vocals\.bn2\.bias"),
        ({"lstm.weight_ih_l7": torch.ones(1, 1)}, "tensors missing"),
        ({"input_mean": None}, "is no network of Open-Unmix"),
        ({"output_scale": torch.tensor(1.0)}, "is no network of Open-Unmix"),
        ({"input_mean": torch.ones(0)}, "is no network of Open-Unmix"),
        ({"sample_rate": torch.tensor(0)}, "is no network of Open-Unmix"),
        ({"sample_rate": torch.ones(2)}, "is no network of Open-Unmix"),
        ({"more.weight": torch.ones(3)}, "tensors unknown: networks.stem_vocals.more.weight"),
        ({"fc3.weight": torch.ones(66, 5)}, r"fc3.weight has the shape \[66, 5\] instead"),
        ({"fc1.weight": torch.ones(6, 60)}, "channels|has the shape"),
        ({"bn1.weight": torch.full((6,), float("nan"))}, "NaN or infinite"),
        ({"bn1.weight": torch.full((6,), float("inf"))}, "NaN or infinite"),
        ({"bn1.weight": torch.ones(1).expand(10**12)}, "claims tensors"),
        ({"fc1.weight": torch.ones(10_000, 40)}, "has the shape"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    tmp_path: Path, open_unmix_state: MakeState, change: dict[str, Tensor | None], message: str
) -> None:
    state = open_unmix_state() | change
    torch.save({k: v for k, v in state.items() if v is not None}, tmp_path / "vocals.pth")
    with pytest.raises(ReleaseError, match=message):
        import_release(tmp_path / "vocals.pth", "mine")
    assert not user_folder().exists()


@pytest.mark.parametrize(
    ("separator", "message"),
    [
        ("{", "cannot be read as JSON"),
        ("[]", "separator.json"),
        ('{"nfft": 64}', "nhop"),
        ('{"nfft": 4096, "nhop": 1024, "sample_rate": 44100}', "n_fft=64, but its settings say"),
        ('{"nfft": 64, "nhop": 0, "sample_rate": 44100}', "nhop=0"),
    ],
)
def test_wrong_settings_are_refused(trained: Path, separator: str, message: str) -> None:
    (trained / "separator.json").write_text(separator)
    with pytest.raises(ReleaseError, match=message):
        import_release(trained, "mine")


def test_stems_of_different_sizes_and_double_stems_are_refused(
    trained: Path, open_unmix_state: MakeState
) -> None:
    torch.save(open_unmix_state(hidden=8), trained / "bass.pth")
    with pytest.raises(ReleaseError, match="one by one"):
        import_release(trained, "mine")
    torch.save(open_unmix_state(), trained / "bass-01234567.pth")
    with pytest.raises(ReleaseError, match="both for the stem 'bass'"):
        import_release(trained, "mine")


def test_a_single_file_of_a_training_folder_keeps_its_settings(trained: Path) -> None:
    import_release(trained / "drums.pth", "mine")
    config = load_model("mine").config.model_dump()
    assert (config["hop_length"], config["sample_rate"]) == (24, 48000)


def test_names_formats_and_paths_are_checked(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"name='\.\./x'"):
        import_release(trained, "../x")
    with pytest.raises(ParameterError, match=r"choose one of auto, .*demucs, .*open_unmix"):
        import_release(trained, "mine", format="nonsense")
    with pytest.raises(ReleaseError, match="does not exist; give the path"):
        import_release(tmp_path / "nothing", "mine")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ReleaseError, match="is of no known format"):
        import_release(tmp_path / "empty", "mine")
    with pytest.raises(ReleaseError, match=r"holds no \.pth file"):
        import_release(tmp_path / "empty", "mine", format="open_unmix")
    first = import_release(trained, "mine")
    with pytest.raises(ReleaseError, match=r"'mine' exists .*--force"):
        import_release(trained, "mine")
    assert import_release(trained, "mine", replace=True).sha256 == first.sha256
    assert {"demucs", "desmezcla_folder", "open_unmix"} <= set(list_formats())


def test_a_release_folder_is_copied_under_its_new_name(trained: Path) -> None:
    first = import_release(trained, "first")
    second = import_release(first.folder, "second")
    assert find_release("second").info == first.info.model_copy(update={"name": "second"})
    assert second.sha256 == first.sha256
    (first.folder / "config.yaml").write_text("model: open_unmix\n")
    with pytest.raises(ReleaseError, match="has the sha256"):
        import_release(first.folder, "third")


def test_a_bag_is_copied_too(tmp_path: Path) -> None:
    folder = tmp_path / "both"
    folder.mkdir()
    bag = {
        "name": "both",
        "stems": ["vocals"],
        "sample_rate": 44100,
        "channels": 2,
        "members": [{"release": "a"}],
    }
    (folder / "release.yaml").write_text(yaml.safe_dump(bag))
    assert import_release(folder, "mine").info.members[0].release == "a"
    assert find_release("mine").name == "mine"
