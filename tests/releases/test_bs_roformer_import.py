import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from desmezcla.errors import ReleaseError
from desmezcla.models import build_model
from desmezcla.models.bs_roformer import BSRoformer, Config
from desmezcla.releases.catalog import CatalogEntry, catalog
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release, importer
from desmezcla.releases.importers.bs_roformer import pair_of_files, recognises

MODEL = {
    "dim": 8,
    "depth": 1,
    "stereo": True,
    "num_stems": 1,
    "time_transformer_depth": 1,
    "freq_transformer_depth": 1,
    "linear_transformer_depth": 0,
    "freqs_per_bands": [5, 12],
    "dim_head": 4,
    "heads": 2,
    "flash_attn": True,
    "dim_freqs_in": 17,
    "stft_n_fft": 32,
    "stft_hop_length": 8,
    "stft_win_length": 32,
    "multi_stft_hop_size": 147,
    "sage_attention": False,
    "use_torch_checkpoint": False,
}
TRAINING = {"instruments": ["Vocals", "other"], "target_instrument": "Vocals", "lr": 1.0e-05}


def settings(*, training: dict[str, Any] | None = None, **model: Any) -> dict[str, Any]:
    return {
        "audio": {"chunk_size": 4000, "sample_rate": 8000, "num_channels": 2, "dim_t": 801},
        "model": {key: x for key, x in (MODEL | model).items() if x is not None},
        "training": TRAINING | (training or {}),
        "inference": {"num_overlap": 2},
    }


def network(**fields: Any) -> BSRoformer:
    torch.manual_seed(0)
    sizes = {"dim": 8, "depth": 1, "dim_head": 4, "heads": 2, "freqs_per_bands": (5, 12)}
    transform = {"n_fft": 32, "hop_length": 8, "win_length": 32}
    model = build_model("bs_roformer", **{"stems": ("vocals",)} | sizes | transform | fields)
    assert isinstance(model, BSRoformer)
    return model


def write(folder: Path, content: dict[str, Any] | str, state: Any, *, name: str = "model") -> Path:
    folder.mkdir(exist_ok=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (folder / f"{name}.yaml").write_text(text)
    torch.save(state, folder / f"{name}.ckpt")
    return folder / f"{name}.ckpt"


@pytest.mark.parametrize("wrapper", [None, "state_dict", "state", "model_state_dict"])
@pytest.mark.parametrize("prefix", ["", "model.", "module."])
def test_tensors_are_found_where_programs_put_them(
    tmp_path: Path, wrapper: str | None, prefix: str
) -> None:
    model = network()
    state: Any = {f"{prefix}{name}": value for name, value in model.state_dict().items()}
    if wrapper:
        state = {"epoch": 3, wrapper: state, "optimizer": {"lr": 0.1}}
    release = import_release(write(tmp_path / "f", settings(), state), "mine")
    assert release.info.stems == ("vocals",)
    assert (release.info.sample_rate, release.info.channels) == (8000, 2)
    again = load_model(release)
    assert again.config.model_dump()["attn_dropout"] == 0
    assert again.spec.segment_samples == 4000
    mix = torch.randn(1, 2, 500)
    torch.testing.assert_close(again(mix), model(mix), rtol=0, atol=0)


def test_what_the_settings_leave_out_is_as_in_the_original(tmp_path: Path) -> None:
    omitted = dict.fromkeys(
        ("stereo", "num_stems", "time_transformer_depth", "freq_transformer_depth")
    )
    model = network(channels=1, time_transformer_depth=2, freq_transformer_depth=2)
    import_release(write(tmp_path / "f", settings(**omitted), model.state_dict()), "mine")
    assert load_model("mine").config.channels == 1


def test_the_stems_are_those_of_the_settings(tmp_path: Path) -> None:
    names = {"instruments": ["Drums", "No Reverb", "lead-vocals"], "target_instrument": None}
    model = network(stems=("a", "b", "c"))
    path = write(tmp_path / "f", settings(num_stems=3, training=names), model.state_dict())
    assert import_release(path, "mine").info.stems == ("drums", "no_reverb", "lead-vocals")


def test_tuples_of_python_are_read_and_nothing_else_of_it(tmp_path: Path) -> None:
    text = yaml.safe_dump(settings(freqs_per_bands=None))
    tuples = text.replace("model:\n", "model:\n  freqs_per_bands: !!python/tuple [5, 12]\n")
    import_release(write(tmp_path / "f", tuples, network().state_dict()), "mine")
    mark = tmp_path / "ran"
    hostile = f"  optimizer: !!python/object/apply:pathlib.Path.touch [!!python/name:{mark}]\n"
    path = write(tmp_path / "f", tuples + hostile, network().state_dict())
    with pytest.raises(ReleaseError, match="only !!python/tuple is allowed"):
        import_release(path, "other")
    assert not mark.exists()


class Hostile:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (self.path,)


def test_a_pickle_that_would_run_code_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f", settings(), {"state_dict": Hostile(tmp_path / "ran")})
    with pytest.raises(ReleaseError, match="refused"):
        import_release(path, "mine")
    path.write_bytes(pickle.dumps(Hostile(tmp_path / "ran")))
    with pytest.raises(ReleaseError):
        import_release(path, "mine")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"num_bands": 60, "freqs_per_bands": None}, r"Mel-Band RoFormer \(num_bands=60\)"),
        ({"linear_transformer_depth": 1}, "linear_transformer_depth=1 must be 0"),
        ({"num_residual_streams": 4}, "not known: num_residual_streams"),
        ({"dim": None}, "does not say the network's dim"),
        ({"dim": "wide"}, "dim='wide'"),
        ({"freqs_per_bands": [5, 11]}, "must have the 17"),
        ({"dim": 10**6}, "does not fit its model"),
        ({"dim": 10**12}, "cannot be used"),
        ({"num_stems": 2, "training": {"instruments": ["a"]}}, "num_stems=2, but"),
        ({"training": {"target_instrument": None}}, "num_stems=1, but"),
        ({"training": {"instruments": []}}, "training.instruments"),
    ],
)
def test_other_networks_and_wrong_settings_are_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = write(tmp_path / "f", settings(**changes), network().state_dict())
    with pytest.raises(ReleaseError, match=message):
        import_release(path, "mine")


def test_tensors_of_another_network_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path / "f", settings(), network(depth=2).state_dict())
    with pytest.raises(ReleaseError, match="does not fit its model: tensors unknown"):
        import_release(path, "mine")
    state = network().state_dict() | {"final_norm.gamma": torch.full((8,), torch.nan)}
    with pytest.raises(ReleaseError, match="NaN"):
        import_release(write(tmp_path / "f", settings(), state), "mine")
    with pytest.raises(ReleaseError, match="is no state dict"):
        import_release(write(tmp_path / "f", settings(), {"epoch": 3}), "mine")


def test_the_yaml_file_is_found_and_told_from_others(tmp_path: Path) -> None:
    folder = tmp_path / "f"
    path = write(folder, settings(), network().state_dict())
    (folder / "model.yaml").rename(folder / "config_vocals.yaml")
    assert pair_of_files(folder) == pair_of_files(path) == (path, folder / "config_vocals.yaml")
    assert recognises(folder)
    (folder / "another.yaml").write_text("models: [a]")
    with pytest.raises(ReleaseError, match=r"another\.yaml, config_vocals\.yaml"):
        pair_of_files(path)
    assert not recognises(path)
    (folder / "model.yml").write_text("models: [a]")
    assert not recognises(path)
    (folder / "model.yml").write_text(yaml.safe_dump(settings()))
    assert recognises(path)
    # Mel-Band RoFormer is known, so that it can be refused by its name.
    (folder / "model.yml").write_text("model:\n  num_bands: 60\n")
    assert recognises(path)
    assert not recognises(tmp_path)
    assert not recognises(folder / "model.yml")


ENTRIES = [entry for entry in catalog().values() if entry.format == "bs_roformer"]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.name)
def test_the_settings_of_the_catalog_have_as_many_weights_as_the_files(entry: CatalogEntry) -> None:
    with torch.device("meta"):
        state = BSRoformer(
            Config.model_validate({"stems": entry.stems, **entry.settings})
        ).state_dict()
    (file,) = entry.files
    assert file.sha256
    assert file.size_bytes
    # An archive of PyTorch has some 400 bytes beside the values of a tensor.
    overhead_bytes = file.size_bytes - 4 * sum(x.numel() for x in state.values())
    assert 300 < overhead_bytes / len(state) < 500


def test_a_file_of_the_catalog_becomes_a_release(tmp_path: Path) -> None:
    model = network()
    torch.save(model.state_dict(), tmp_path / "model.ckpt")
    entry = ENTRIES[0].model_copy(update={"settings": model.config.model_dump()})
    files = [(entry.files[0], tmp_path / "model.ckpt")]
    release = importer("bs_roformer").convert(files, entry, tmp_path / "release", replace=False)
    assert release.info.scores == entry.scores
    mix = torch.randn(1, 2, 500)
    torch.testing.assert_close(load_model(release)(mix), model(mix), rtol=0, atol=0)
