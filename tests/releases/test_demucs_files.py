"""Packages, safetensors files and bags of demucs: what is installed, what is refused, the catalog.

The files are made here, without the package `demucs`; `test_demucs_import.py` compares with it.
"""

import hashlib
import json
import os
import sys
import zipfile
from collections import defaultdict
from collections.abc import Callable
from fractions import Fraction
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import save_file

from desmezcla.errors import ReleaseError
from desmezcla.inference.offline import Separator
from desmezcla.models import build_model, config_class
from desmezcla.releases import catalog as catalog_module
from desmezcla.releases.catalog import CatalogEntry, catalog
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.demucs_arguments import read_arguments
from desmezcla.releases.demucs_file import read_network
from desmezcla.releases.fetch import fetch_release
from desmezcla.releases.importers import import_release, importer
from desmezcla.releases.release import file_digest
from desmezcla.releases.store import find_release, user_folder

FOUR = ["drums", "bass", "other", "vocals"]
USUAL = ("vocals", "drums", "bass", "other")
SIZES = {"nfft": 64, "depth": 2, "norm_starts": 1, "dconv_attn": 9, "dconv_lstm": 9}
ARGUMENTS = {**SIZES, "channels": 4, "samplerate": 8000, "segment": 2}
FIELDS = {**SIZES, "hidden_channels": 4, "sample_rate": 8000, "segment_s": 2}


def weights(seed: int = 0, sources: list[str] = FOUR) -> dict[str, torch.Tensor]:
    """Return the weights of a small network, whose names are those of the original."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return build_model("hybrid_demucs", stems=tuple(sources), **FIELDS).state_dict()


@pytest.fixture
def klass(monkeypatch: pytest.MonkeyPatch) -> type:
    """Return a class that is pickled under the name of demucs' own."""
    module: Any = ModuleType("demucs.hdemucs")
    module.HDemucs = type("HDemucs", (), {"__module__": "demucs.hdemucs"})
    monkeypatch.setitem(sys.modules, "demucs", ModuleType("demucs"))
    monkeypatch.setitem(sys.modules, "demucs.hdemucs", module)
    found: type = module.HDemucs
    return found


Save = Callable[..., Path]


@pytest.fixture
def save(klass: type) -> Save:
    """Return a function that writes a package as demucs does."""

    def write(folder: Path, signature: str, *, seed: int = 0, **changes: Any) -> Path:
        folder.mkdir(exist_ok=True)
        content = {
            "klass": klass,
            "args": (),
            "kwargs": {"sources": FOUR, **ARGUMENTS},
            "state": weights(seed),
            "training_args": {"epochs": 3, "metric": np.float64(9.0), "list": [[1], None]},
        }
        path = folder / "new.th"
        torch.save({k: x for k, x in (content | changes).items() if x is not None}, path)
        return path.rename(folder / f"{signature}-{file_digest(path)[:8]}.th")

    return write


def write_bag(folder: Path, models: list[str], **more: Any) -> Path:
    (folder / "bag.yaml").write_text(yaml.safe_dump({"models": models, **more}))
    return folder / "bag.yaml"


def installed() -> list[str]:
    return sorted(path.name for path in user_folder().glob("*"))


def test_the_stems_are_in_the_usual_order(tmp_path: Path, save: Save) -> None:
    release = import_release(save(tmp_path, "a"), "mine")
    assert (release.info.model, release.info.stems) == ("hybrid_demucs", USUAL)
    original = build_model("hybrid_demucs", stems=tuple(FOUR), **FIELDS)
    original.load_state_dict(weights())
    mix = torch.randn(1, 2, 5000)
    with torch.no_grad():
        expected = original(mix)[:, [3, 0, 1, 2]]
        torch.testing.assert_close(load_model("mine")(mix), expected)


def test_a_fraction_and_a_source_without_a_name_are_understood(tmp_path: Path, save: Save) -> None:
    sources = ["claps", "vocals"]
    kwargs = ARGUMENTS | {"segment": Fraction(39, 5)}
    path = save(tmp_path, "a", args=(sources,), kwargs=kwargs, state=weights(0, sources))
    network = read_network(path)
    assert network.sources == ("claps", "vocals")
    assert network.model.spec.stems == ("vocals", "claps")
    assert network.model.spec.segment_samples == 62400


def test_what_the_training_left_is_passed_over(
    tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> None:
    module: Any = ModuleType("omegaconf.dictconfig")
    module.DictConfig = type("DictConfig", (), {"__module__": "omegaconf.dictconfig"})
    monkeypatch.setitem(sys.modules, "omegaconf", ModuleType("omegaconf"))
    monkeypatch.setitem(sys.modules, "omegaconf.dictconfig", module)
    config = module.DictConfig()
    config.content = {"kinds": [dict, list, float], "any": Any, "more": defaultdict(list, a=[1])}
    path = save(tmp_path, "a", training_args=config, metrics=[np.float32(9), np.float64(9)])
    monkeypatch.delitem(sys.modules, "omegaconf.dictconfig")
    state = read_network(path).model.state_dict()
    assert torch.equal(state["encoder.0.conv.weight"], weights()["encoder.0.conv.weight"])


class Call:
    """Pickled as a call of a function."""

    def __init__(self, *content: object) -> None:
        self.content = content[0], content[1:]

    def __reduce__(self) -> tuple[Any, ...]:
        return self.content


@pytest.mark.parametrize("place", ["klass", "args", "kwargs", "state", "training_args", "more"])
def test_a_hostile_package_is_refused_and_does_not_run(
    tmp_path: Path, save: Save, place: str
) -> None:
    trap = tmp_path / "trap"
    path = save(tmp_path, "a", **{place: Call(os.mkdir, str(trap))})
    with pytest.raises(ReleaseError, match=r"was refused: it names 'posix\.mkdir'"):
        import_release(path, "mine")
    assert not trap.exists()
    assert installed() == []
    torch.load(path, weights_only=False)
    assert trap.exists()  # the trap works: the free reader springs it


def deep(depth: int) -> list[Any]:
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"klass": Fraction}, "was refused: it names 'fractions.Fraction'|is no network of demucs"),
        ({"klass": "demucs.tasnet.ConvTasNet"}, "klass: Input should be 'demucs.demucs.Demucs'"),
        ({"klass": ["demucs.hdemucs.HDemucs"]}, "klass: "),
        ({"state": None}, "state: Field required"),
        ({"state": torch.ones(3)}, "state: Input should be a valid dictionary"),
        ({"state": {"a": 1}}, "'a' in its state is no tensor"),
        ({"state": {"a": torch.ones(1)}}, "does not fit its model: tensors missing"),
        ({"state": {"__quantized": True}}, r"the quantized weights do not fit \(KeyError"),
        ({"args": (FOUR, 2)}, "args: Tuple should have at most 1 item"),
        ({"kwargs": ARGUMENTS}, "sources=None must be names of stems"),
        ({"kwargs": {"sources": ["a", "a"], **ARGUMENTS}}, "its arguments cannot be used"),
        ({"kwargs": {"sources": ["../a", "b"], **ARGUMENTS}}, "must be names of stems"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "extra": 1}}, "does not have .*: 'extra'"),
        (
            {"kwargs": {"sources": FOUR, **ARGUMENTS, "rewrite": deep(3)}},
            "'rewrite' is no plain value",
        ),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "depth": "x"}}, "depth='x'"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "depth": 3}}, "does not fit its model"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "channels": 10**7}}, "does not fit its model"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "channels": 10**30}}, "cannot be used"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "segment": "long"}}, "segment='long' must be"),
        ({"kwargs": {"sources": FOUR, **ARGUMENTS, "norm_starts": 0}}, "norm_starts=0 must be"),
    ],
)
def test_other_packages_are_refused(
    tmp_path: Path, save: Save, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReleaseError, match=message):
        import_release(save(tmp_path, "a", **changes), "mine")
    assert installed() == []


def test_arguments_of_any_depth_are_refused(tmp_path: Path, klass: type) -> None:
    """Python cannot pickle them, and printing them would fail."""
    program = b"\x80\x02}(X\x05\x00\x00\x00klasscdemucs.hdemucs\nHDemucs\n"
    for name in (b"args", b"kwargs", b"state"):
        program += b"X%c\x00\x00\x00%s" % (len(name), name) + b"]" * 20_000 + b"a" * 19_999
    with zipfile.ZipFile(tmp_path / "a.th", "w") as archive:
        archive.writestr("archive/data.pkl", program + b"u.")
    with pytest.raises(ReleaseError, match="is no network of demucs"):
        import_release(tmp_path / "a.th", "mine")


def test_a_file_with_another_checksum_than_its_name_says_is_refused(
    tmp_path: Path, save: Save
) -> None:
    path = save(tmp_path, "a")
    path = path.rename(tmp_path / "a-0123456789.th")
    with pytest.raises(ReleaseError, match=r"its name says that it begins with 0123456789;"):
        import_release(path, "mine")


def test_a_bag_is_installed_with_its_models(tmp_path: Path, save: Save) -> None:
    folder = tmp_path / "bag"
    for seed, signature in enumerate("abc"):
        save(folder, signature, seed=seed)
    rows = [[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0.5], [0, 0, 0, 1]]
    write_bag(folder, ["a", "b", "c", "a"], weights=rows, segment=1.5)
    release = import_release(folder, "mine")
    assert installed() == ["mine", "mine-1", "mine-2", "mine-3"]
    assert release.info.model is None
    assert {member.release: member.weights for member in release.info.members} == {
        "mine-1": {"drums": 1, "bass": 1, "vocals": 1},  # which is in the bag twice
        "mine-2": {"bass": 1},
        "mine-3": {"drums": 1, "other": 1, "vocals": 0.5},
    }
    assert "a bag of releases" in (release.folder / "card.md").read_text()
    assert load_model("mine-2").spec.segment_samples == 12000
    mix = torch.randn(2, 20_000).numpy()
    got = Separator("mine").separate(mix, 8000)
    parts = [Separator(f"mine-{n}").separate(mix, 8000) for n in (1, 2, 3)]
    np.testing.assert_allclose(got["other"], parts[2]["other"], atol=1e-6)
    expected = (parts[0]["vocals"] + 0.5 * parts[2]["vocals"]) / 1.5
    np.testing.assert_allclose(got["vocals"], expected, atol=1e-6)


def test_a_bag_without_weights_and_a_bag_of_one(tmp_path: Path, save: Save) -> None:
    save(tmp_path, "a")
    save(tmp_path, "b", seed=1)
    bag = write_bag(tmp_path, ["a", "b"])
    members = import_release(bag, "mine").info.members
    assert [set(member.weights.values()) for member in members] == [{1.0}, {1.0}]
    # With force it is replaced, and the models that it had besides are removed.
    release = import_release(write_bag(tmp_path, ["b"], segment=3), "mine", replace=True)
    assert installed() == ["mine"]
    assert release.info.model == "hybrid_demucs"
    assert load_model("mine").spec.segment_samples == 24000


def test_a_bag_replaces_another_with_force_only(tmp_path: Path, save: Save) -> None:
    for seed, signature in enumerate("abc"):
        save(tmp_path, signature, seed=seed)
    write_bag(tmp_path, ["a", "b", "c"])
    import_release(tmp_path, "mine")
    first = find_release("mine-1").sha256
    write_bag(tmp_path, ["b", "a"])
    with pytest.raises(ReleaseError, match=r"'mine' exists .*--force"):
        import_release(tmp_path, "mine")
    import_release(tmp_path, "mine", replace=True)
    assert installed() == ["mine", "mine-1", "mine-2"]
    assert find_release("mine-2").sha256 == first
    # A release that has the name of a part is not overwritten.
    import_release(next(tmp_path.glob("a-*.th")), "other-1")
    with pytest.raises(ReleaseError, match=r"other-1 exists; choose another name"):
        import_release(tmp_path, "other")
    assert "other" not in installed()


@pytest.mark.parametrize(
    ("models", "more", "message"),
    [
        (["a", "broken"], {}, "broken-.* is no network of demucs"),
        (["a", "mono"], {}, "must be alike, but mine-2 gives"),
        (["a", "two"], {}, "must be alike, but mine-2 gives vocals, drums"),
        (["a", "absent"], {}, r"must hold one file absent\.th, .* but holds none"),
        (["a", "b"], {"weights": [[1, 1, 1, 1]]}, "must have one row for each of 2 models"),
        (["a", "b"], {"weights": [[1, 1], [1, 1]]}, "one number for each of drums, bass, other"),
        (["a", "b"], {"weights": [[1, 1, 1, 0], [1, 1, 1, 0]]}, "has a weight for vocals"),
        (["a", "b"], {"weights": [[1, 1, 1, -1], [1, 1, 1, 1]]}, "weights.0.3: Input should be"),
        (["a", "b"], {"segment": 0}, "segment: Input should be greater than 0"),
        (["a", "b"], {"segments": 1}, "segments: Extra inputs are not permitted"),
        ([], {}, "models: "),
    ],
)
def test_nothing_is_installed_if_a_part_of_a_bag_fails(
    tmp_path: Path, save: Save, models: list[str], more: dict[str, Any], message: str
) -> None:
    save(tmp_path, "a")
    save(tmp_path, "b", seed=1)
    save(tmp_path, "broken", state=None)
    save(tmp_path, "mono", kwargs={"sources": FOUR, **ARGUMENTS, "samplerate": 9000})
    two = ["vocals", "drums"]
    save(tmp_path, "two", kwargs={"sources": two, **ARGUMENTS}, state=weights(0, two))
    with pytest.raises(ReleaseError, match=message):
        import_release(write_bag(tmp_path, models, **more), "mine")
    assert installed() == []


def test_folders_say_what_is_meant(tmp_path: Path, save: Save) -> None:
    save(tmp_path, "a")
    assert import_release(tmp_path, "one").info.model == "hybrid_demucs"
    save(tmp_path, "b", seed=1)
    with pytest.raises(ReleaseError, match=r"must hold one bag .* holds a-\w+\.th, b-\w+\.th"):
        import_release(tmp_path, "mine")
    write_bag(tmp_path, ["a", "b"])
    (tmp_path / "notes.yaml").write_text("a: 1\n")
    (tmp_path / "deep.yaml").write_text("[" * 1000)
    assert len(import_release(tmp_path, "mine").info.members) == 2
    demucs = importer("demucs")
    assert demucs.recognises(tmp_path / "bag.yaml")
    assert not demucs.recognises(tmp_path / "notes.yaml")
    assert not demucs.recognises(tmp_path / "deep.yaml")
    assert not demucs.recognises(user_folder() / "mine")
    assert not demucs.recognises(user_folder() / "mine-1")


def save_safely(folder: Path, signature: str, **header: str) -> Path:
    folder.mkdir(exist_ok=True)
    kwargs = {"sources": FOUR, **ARGUMENTS}
    kwargs["segment"] = {"_type": "fraction", "numerator": 5, "denominator": 2}
    told = {"klass": "demucs.hdemucs.HDemucs", "args": "[]", "kwargs": json.dumps(kwargs)} | header
    path = folder / f"{signature}.safetensors"
    save_file(weights(), path, metadata={key: x for key, x in told.items() if x})
    return path


def test_safetensors_files_are_imported(tmp_path: Path, save: Save) -> None:
    release = import_release(save_safely(tmp_path / "safe", "a"), "safe")
    assert load_model("safe").spec.segment_samples == 20000
    assert release.sha256 == import_release(save(tmp_path / "free", "a"), "free").sha256
    write_bag(tmp_path / "safe", ["a"])
    assert import_release(tmp_path / "safe", "again").sha256 == release.sha256


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ({"klass": "os.system"}, "klass: Input should be"),
        ({"klass": ""}, r"its header must have klass, args and kwargs \(KeyError"),
        ({"kwargs": "{"}, "its header must have"),
        ({"kwargs": "[]"}, "its header must have"),
        ({"kwargs": "[" * 100_000}, "is nested too deeply"),
        (
            {"kwargs": '{"segment": {"_type": "fraction", "numerator": 1, "denominator": 0}}'},
            "Zero",
        ),
        ({"structure": '{"_tensor": "nothing"}'}, "its header must have"),
        ({"structure": '{"_call": "os.system"}'}, "unknown part _call"),
        ({"structure": "[]"}, "state: Input should be a valid dictionary"),
    ],
)
def test_other_safetensors_files_are_refused(
    tmp_path: Path, header: dict[str, str], message: str
) -> None:
    path = save_safely(tmp_path, "a", **header)
    with pytest.raises(ReleaseError, match=message):
        import_release(path, "mine", format="demucs")


def test_a_damaged_safetensors_file_is_refused(tmp_path: Path) -> None:
    path = save_safely(tmp_path, "a")
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ReleaseError, match="cannot be read as safetensors"):
        import_release(path, "mine", format="demucs")


def test_the_catalog_has_what_demucs_4_1_lists() -> None:
    entries = {name: entry for name, entry in catalog().items() if entry.format == "demucs"}
    assert sorted(entries) == [
        *("hdemucs_mmi", "htdemucs", "htdemucs_6s", "htdemucs_ft"),
        *("mdx", "mdx_extra", "mdx_extra_q", "mdx_q"),
    ]
    for name, entry in entries.items():
        assert entry.stems[:4] == USUAL
        assert (entry.model is None) == (len(entry.files) > 1)
        assert entry.saw_musdb18_test == {
            "mdx_extra": True,
            "mdx_extra_q": True,
            "htdemucs_6s": "unknown",
        }.get(name, False)
        root = "mdx_final" if name.startswith("mdx") else "hybrid_transformer"
        for file in entry.files:
            assert file.url.startswith(f"https://dl.fbaipublicfiles.com/demucs/{root}/")
            # The name ends with the first digits of the sha256.
            assert file.digits["sha256"].startswith(file.url[-11:-3])
    assert sum(len(entry.files) for entry in entries.values()) == 23
    assert [name for name, entry in entries.items() if entry.scores] == [
        *("htdemucs", "htdemucs_ft", "hdemucs_mmi")
    ]


@pytest.fixture
def published(
    server: Any, tmp_path: Path, save: Save, monkeypatch: pytest.MonkeyPatch
) -> CatalogEntry:
    """Publish a bag of two models on the server, in a catalog of its own."""
    folder = tmp_path / "published"
    paths = [save(folder, signature, seed=seed) for seed, signature in enumerate("ab")]
    entry = {
        "name": "pair",
        "stems": list(USUAL),
        "sample_rate": 8000,
        "channels": 2,
        "license": "MIT",
        "scores": [{"dataset": "d", "averaging": "a", "source": "s", "values_db": {"bass": 1.0}}],
        "format": "demucs",
        "settings": {"weights": [[1, 1, 0, 0], [0, 0, 1, 1]], "segment": 3},
        "size_bytes": 1000,
        "files": [
            {"url": f"{server.url}/{path.name}", "sha256": file_digest(path)} for path in paths
        ],
    }
    (tmp_path / "catalog").mkdir()
    (tmp_path / "catalog" / "all.yaml").write_text(yaml.safe_dump({"releases": [entry]}))
    monkeypatch.setattr(catalog_module, "CATALOG", tmp_path / "catalog")
    monkeypatch.setattr(catalog_module, "_content", catalog_module._content.__wrapped__)

    def serve(handler: BaseHTTPRequestHandler) -> None:
        content = (folder / handler.path.rpartition("/")[2]).read_bytes()
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    server.answers = [serve]
    return catalog()["pair"]


def test_a_bag_of_the_catalog_is_fetched_and_separates(
    server: Any, published: CatalogEntry, home: Path
) -> None:
    separator = Separator("pair")  # fetched on first use
    assert separator.stems == USUAL
    assert len(server.requests) == 2
    assert installed() == ["pair", "pair-1", "pair-2"]
    release = find_release("pair")
    assert [member.weights for member in release.info.members] == [
        {"drums": 1, "bass": 1},
        {"other": 1, "vocals": 1},
    ]
    assert release.info.scores[0].values_db == {"bass": 1.0}
    assert (find_release("pair-1").info.license, find_release("pair-1").info.scores) == ("MIT", ())
    assert load_model("pair-2").spec.segment_samples == 24000
    stems = separator.separate(torch.randn(2, 8000), 8000)
    assert all(bool(torch.isfinite(audio).all()) for audio in stems.values())
    assert list((home / "downloads").rglob("*.th*")) == []


def test_nothing_of_a_bag_of_the_catalog_remains_if_a_file_is_wrong(
    server: Any, published: CatalogEntry
) -> None:
    content = b"no package"
    digest = hashlib.sha256(content).hexdigest()

    def serve(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(content)))
        handler.end_headers()
        handler.wfile.write(content)

    good = server.answers[0]
    server.answers = [good, serve]
    wrong = published.files[1].model_copy(update={"sha256": digest})
    entry = published.model_copy(update={"files": (published.files[0], wrong)})
    with pytest.raises(ReleaseError, match=r"was refused|cannot be read"):
        fetch_release(entry)
    assert installed() == []


def test_files_of_the_catalog_are_known_by_their_checksums(
    published: CatalogEntry, tmp_path: Path
) -> None:
    folder = tmp_path / "published"
    write_bag(folder, ["a", "b"])
    info = import_release(folder, "mine").info
    assert (info.name, info.license, len(info.scores)) == ("mine", "MIT", 1)
    one = import_release(folder / published.files[1].filename, "one").info
    assert (one.license, one.scores) == ("MIT", ())


# Of htdemucs and htdemucs_ft, as their files have them.
PUBLISHED = {
    "audio_channels": 2,
    "channels": 48,
    "channels_time": None,
    "growth": 2,
    "nfft": 4096,
    "wiener_iters": 0,
    "end_iters": 0,
    "wiener_residual": False,
    "cac": True,
    "depth": 4,
    "rewrite": True,
    "multi_freqs": [],
    "multi_freqs_depth": 3,
    "freq_emb": 0.2,
    "emb_scale": 10,
    "emb_smooth": True,
    "kernel_size": 8,
    "stride": 4,
    "time_stride": 2,
    "context": 1,
    "context_enc": 0,
    "norm_starts": 4,
    "norm_groups": 4,
    "dconv_mode": 3,
    "dconv_depth": 2,
    "dconv_comp": 8,
    "dconv_init": 0.001,
    "bottom_channels": 512,
    "t_layers": 5,
    "t_hidden_scale": 4.0,
    "t_heads": 8,
    "t_dropout": 0.02,
    "t_emb": "sin",
    "t_layer_scale": True,
    "t_gelu": True,
    "t_max_positions": 10000,
    "t_max_period": 10000.0,
    "t_weight_pos_embed": 1.0,
    "t_cape_mean_normalize": True,
    "t_cape_augment": True,
    "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4],
    "t_sin_random_shift": 0,
    "t_norm_in": True,
    "t_norm_in_group": False,
    "t_group_norm": False,
    "t_norm_first": True,
    "t_norm_out": True,
    "t_weight_decay": 0.0,
    "t_lr": None,
    "t_sparse_self_attn": False,
    "t_mask_type": "diag",
    "t_sparse_cross_attn": False,
    "t_mask_random_seed": 42,
    "t_sparse_attn_window": 400,
    "t_global_window": 100,
    "t_sparsity": 0.95,
    "t_auto_sparsity": False,
    "rescale": 0.1,
    "t_cross_first": False,
    "samplerate": 44100,
    "segment": Fraction(39, 5),
}
TRANSFORMER = "demucs.htdemucs.HTDemucs"


def test_the_published_arguments_are_the_defaults_of_the_architecture() -> None:
    given = {"sources": FOUR, **PUBLISHED}
    arguments = read_arguments(TRANSFORMER, given, "a.th", segment_s=None)
    assert (arguments.model, arguments.sources) == ("ht_demucs", tuple(FOUR))
    config = config_class("ht_demucs")
    assert config(**arguments.fields) == config()
    # A bag may ask for shorter segments than those of the training, and for no longer ones.
    for asked, expected in ((44.0, 7.8), (5.0, 5.0)):
        fields = read_arguments(TRANSFORMER, given, "a.th", segment_s=asked).fields
        assert fields["segment_s"] == expected


@pytest.mark.parametrize(
    ("klass", "change", "message"),
    [
        (TRANSFORMER, {"t_emb": "cape"}, "t_emb='cape' must be 'sin'"),
        (TRANSFORMER, {"t_sparse_self_attn": True}, "has sparse attention"),
        (TRANSFORMER, {"t_norm_first": False}, "t_norm_first=False must be True"),
        ("demucs.hdemucs.HDemucs", {"cac": False, "wiener_iters": 1}, "wiener_iters=1 must be 0"),
        ("demucs.demucs.Demucs", {"glu": False}, "glu=False must be True"),
    ],
)
def test_what_is_not_supported_is_refused_by_name(
    klass: str, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ReleaseError, match=message):
        read_arguments(klass, {"sources": FOUR, **change}, "a.th", segment_s=None)
