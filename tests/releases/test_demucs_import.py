"""Demucs' own files: made by its package, imported, and what they give compared with it."""

import importlib
import json
import warnings
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch import nn

from desmezcla.errors import ReleaseError
from desmezcla.inference.offline import Separator
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    pytest.importorskip("demucs", reason="compares with demucs; pip install demucs")
    from demucs.apply import BagOfModels, apply_model
    from demucs.demucs import Demucs
    from demucs.hdemucs import HDemucs
    from demucs.htdemucs import HTDemucs

    states: Any = importlib.import_module("demucs.states")

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")

FOUR = ["drums", "bass", "other", "vocals"]
SIX = [*FOUR, "guitar", "piano"]
USUAL = ("vocals", "drums", "bass", "other")
RATE = 8000

TINY_HT: dict[str, Any] = {
    "channels": 4,
    "nfft": 1024,
    "depth": 3,
    "t_layers": 2,
    "t_heads": 2,
    "t_hidden_scale": 2.0,
    "dconv_comp": 4,
    "samplerate": RATE,
    "segment": Fraction(5, 4),
}
TINY_HYBRID: dict[str, Any] = {
    "channels": 4,
    "nfft": 1024,
    "depth": 5,
    "samplerate": RATE,
    "segment": 2,
}
TINY_DEMUCS: dict[str, Any] = {
    "channels": 8,
    "depth": 3,
    "samplerate": RATE,
    "segment": 2,
    "norm_starts": 2,
}

NETWORKS: dict[str, tuple[type[nn.Module], list[str], dict[str, Any]]] = {
    "ht_demucs, four stems": (HTDemucs, FOUR, TINY_HT),
    "ht_demucs, six stems": (HTDemucs, SIX, TINY_HT | {"bottom_channels": 24, "dconv_mode": 3}),
    "hybrid_demucs": (HDemucs, FOUR, TINY_HYBRID),
    "hybrid_demucs, with the old slip": (HDemucs, FOUR, TINY_HYBRID | {"hybrid_old": True}),
    "hybrid_demucs, magnitudes": (HDemucs, FOUR, TINY_HYBRID | {"cac": False}),
    "hybrid_demucs, parts of the spectrum": (
        HDemucs,
        FOUR,
        TINY_HYBRID | {"multi_freqs": [0.25, 0.5], "multi_freqs_depth": 2, "freq_emb": 0},
    ),
    "demucs": (Demucs, FOUR, TINY_DEMUCS | {"normalize": False}),
    "demucs, without gates": (Demucs, FOUR, TINY_DEMUCS | {"rewrite": False}),
}


def original(klass: type[nn.Module], sources: list[str], seed: int = 0, **kwargs: Any) -> Any:
    """Return a network of demucs with random weights, none of them near zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = klass(sources=sources, **kwargs)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.data += 0.1 * torch.randn_like(parameter)
    return model.eval()


def package(model: Any, *, half: bool = False, **more: Any) -> dict[str, Any]:
    """Return what demucs' `serialize_model` returns, which needs a package for its training."""
    args, kwargs = model._init_args_kwargs
    state = model.state_dict()
    if half:
        state = {name: value.half() for name, value in state.items()}
    training = {"optim": {"lr": 3e-4}, "epochs": 1, "metric": np.float64(9.0), "lists": [[1], None]}
    content = {"klass": type(model), "args": args, "kwargs": kwargs, "state": state}
    return content | {"training_args": training} | more


def save(model: Any, folder: Path, signature: str, **more: Any) -> Path:
    """Save a network as demucs does, with the checksum in the name."""
    folder.mkdir(exist_ok=True)
    states.save_with_checksum(package(model, **more), folder / f"{signature}.th")
    (path,) = folder.glob(f"{signature}-*.th")
    return path


def usual_order(sources: list[str]) -> list[int]:
    names = [*USUAL, "guitar", "piano"]
    return sorted(range(len(sources)), key=lambda position: names.index(sources[position]))


def noise(seconds: float, channels: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(1, channels, int(seconds * RATE), generator=generator) / 5


@pytest.mark.parametrize("name", list(NETWORKS))
def test_one_segment_is_as_from_demucs(
    tmp_path: Path, record_property: Callable[[str, object], None], name: str
) -> None:
    klass, sources, kwargs = NETWORKS[name]
    model = original(klass, sources, **kwargs)
    release = import_release(save(model, tmp_path, "a1b2c3d4"), "mine")
    assert release.info.stems == (*USUAL, "guitar", "piano")[: len(sources)]
    assert release.info.sample_rate == RATE
    mine = load_model("mine")
    mix = noise(float(kwargs["segment"]))
    with torch.no_grad():
        expected = model(mix)[:, usual_order(sources)]
        difference = float((mine(mix) - expected).abs().max() / expected.abs().max())
    key = release.info.model
    record_property("parity", f"{key}|demucs 4.1.0|{name}, one segment|{difference:.1e}")
    assert difference < 1e-5


def write_bag(folder: Path, name: str, models: list[str], **more: Any) -> Path:
    (folder / f"{name}.yaml").write_text(yaml.safe_dump({"models": models, **more}))
    return folder / f"{name}.yaml"


def bags() -> dict[str, tuple[list[Any], list[list[float]] | None, float | None]]:
    """Return bags as demucs has them: fine-tuned by stem, mixed, and equal."""
    one_each: list[list[float]] = np.eye(4).tolist()
    mixed: list[list[float]] = [[1, 1, 0, 0], [0, 2, 0, 0], [1, 0, 1, 1]]
    transformers = [original(HTDemucs, FOUR, seed, **TINY_HT) for seed in range(4)]
    others = [
        original(Demucs, FOUR, 4, **TINY_DEMUCS),
        original(Demucs, FOUR, 5, **TINY_DEMUCS),
        original(HDemucs, FOUR, 6, **TINY_HYBRID),
    ]
    return {
        "fine-tuned": (transformers, one_each, None),
        "mixed": (others, mixed, 1.5),
        "equal": (transformers[:2], None, 1.0),
    }


@pytest.mark.parametrize("name", ["fine-tuned", "mixed", "equal"])
def test_a_whole_track_is_as_from_a_bag_of_demucs(
    tmp_path: Path, record_property: Callable[[str, object], None], name: str
) -> None:
    models, weights, segment = bags()[name]
    for number, model in enumerate(models):
        save(model, tmp_path / "bag", f"f7e0c4b{number}")
    more = {"weights": weights, "segment": segment}
    signatures = [f"f7e0c4b{number}" for number in range(len(models))]
    write_bag(
        tmp_path / "bag", "any", signatures, **{key: x for key, x in more.items() if x is not None}
    )
    release = import_release(tmp_path / "bag", "mine")
    assert release.info.stems == USUAL
    names = [f"mine-{number}" for number in range(1, len(models) + 1)]
    assert [member.release for member in release.info.members] == names
    mix = noise(4.3)
    # As demucs' own program does before it calls `apply_model`.
    mean, deviation = mix.mean(), mix.mean(1).std()
    bag = BagOfModels(models, weights, segment)
    with torch.no_grad():
        stems = apply_model(bag, (mix - mean) / deviation, shifts=0, split=True, overlap=0.25)[0]
    expected = dict(zip(FOUR, (stems * deviation + mean).numpy(), strict=True))
    got = Separator("mine").separate(mix[0].numpy(), RATE)
    assert tuple(got) == USUAL
    scale = max(float(np.abs(audio).max()) for audio in expected.values())
    difference = max(float(np.abs(got[stem] - expected[stem]).max()) for stem in FOUR) / scale
    what = f"bag of {len(models)} ({name}), {mix.shape[-1] / RATE:.1f} s"
    record_property("parity", f"demucs|demucs 4.1.0|{what}|{difference:.1e}")
    assert difference < 1e-4


def test_half_precision_and_a_single_file_of_any_name(tmp_path: Path) -> None:
    model = original(HTDemucs, FOUR, **TINY_HT)
    path = save(model, tmp_path, "half", half=True).rename(tmp_path / "any name.th")
    import_release(path, "mine")
    weight = load_model("mine").state_dict()["encoder.0.conv.weight"]
    assert weight.dtype == torch.float32
    assert torch.equal(weight, model.state_dict()["encoder.0.conv.weight"].half().float())


def test_sources_may_have_no_name_and_others_come_after_the_usual(tmp_path: Path) -> None:
    sources = ["claps", "other", "vocals"]
    with torch.random.fork_rng(devices=[]):
        model = Demucs(sources, **TINY_DEMUCS).eval()
    import_release(save(model, tmp_path, "sig"), "mine")
    mine = load_model("mine")
    assert mine.spec.stems == ("vocals", "other", "claps")
    mix = noise(1.0)
    with torch.no_grad():
        torch.testing.assert_close(mine(mix), model(mix)[:, [2, 1, 0]], atol=1e-5, rtol=1e-4)


def save_safely(model: Any, folder: Path, signature: str, state: Any = None) -> Path:
    """Save a network as demucs 4.1 has it on Hugging Face."""
    from safetensors.torch import save_file

    def encode(value: Any) -> Any:
        assert isinstance(value, Fraction)
        fraction = {"numerator": value.numerator, "denominator": value.denominator}
        return {"_type": "fraction"} | fraction

    tensors: dict[str, torch.Tensor] = {}

    def describe(value: Any, path: str) -> Any:
        if isinstance(value, torch.Tensor):
            tensors[path] = value.clone().contiguous()
            return {"_tensor": path}
        if isinstance(value, dict):
            pairs = [[key, describe(item, f"{path}.{key}")] for key, item in value.items()]
            return {"_dict": pairs}
        if isinstance(value, list | tuple):
            items = [describe(item, f"{path}.{number}") for number, item in enumerate(value)]
            return {f"_{type(value).__name__}": items}
        if isinstance(value, type):
            return {"_class": f"{value.__module__}.{value.__qualname__}"}
        return value

    args, kwargs = model._init_args_kwargs
    klass = type(model)
    header = {
        "klass": f"{klass.__module__}.{klass.__qualname__}",
        "args": json.dumps(args),
        "kwargs": json.dumps(kwargs, default=encode),
    }
    if state is None:
        tensors = {name: value.contiguous() for name, value in model.state_dict().items()}
    else:
        header["structure"] = json.dumps(describe(state, "state"))
    folder.mkdir(exist_ok=True)
    save_file(tensors, folder / f"{signature}.safetensors", metadata=header)
    return folder / f"{signature}.safetensors"


def test_the_folders_of_hugging_face_are_imported(tmp_path: Path) -> None:
    models = [original(HTDemucs, FOUR, seed, **TINY_HT) for seed in range(2)]
    folder = tmp_path / "HTDemucs"
    single = save_safely(models[0], folder, "955717e8")
    (folder / "955717e8.json").write_text("{}")
    (folder / "README.md").write_text("# htdemucs")
    write_bag(folder, "htdemucs", ["955717e8"])
    release = import_release(folder, "mine")
    assert release.info.model == "ht_demucs"
    state = load_model("mine").state_dict()
    assert torch.equal(state["tencoder.0.conv.weight"], models[0].tencoder[0].conv.weight)
    assert import_release(single, "again").sha256 == release.sha256
    save_safely(models[1], folder, "f7e0c4bc")
    bag = write_bag(folder, "other", ["f7e0c4bc", "955717e8"])
    with pytest.raises(ReleaseError, match=r"must hold one bag .* holds htdemucs\.yaml, other\.ya"):
        import_release(folder, "third")
    assert len(import_release(bag, "third").info.members) == 2


@pytest.mark.parametrize("kind", ["package", "safetensors"])
def test_quantized_weights_are_those_that_diffq_restores(tmp_path: Path, kind: str) -> None:
    diffq = pytest.importorskip("diffq", reason="makes the quantized weights; pip install diffq")
    model = original(HDemucs, FOUR, **TINY_HYBRID)
    quantizer = diffq.DiffQuantizer(model, min_size=0.001, group_size=8)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for parameter in quantizer._qparams:  # of 2 to 14 bits
            parameter.logit.data.normal_(0, 2).clamp_(-5, 3)
    state = quantizer.get_quantized_state() | {"__quantized": True}
    assert len(state["quantized"]) > 20
    assert len(state["others"]) > 20
    restored = original(HDemucs, FOUR, 1, **TINY_HYBRID)
    diffq.restore_quantized_state(restored, state)
    if kind == "package":
        path = save(restored, tmp_path, "q", state=state)
    else:
        path = save_safely(restored, tmp_path, "q", state)
    import_release(path, "mine")
    mix = noise(2.0)
    with torch.no_grad():
        expected = restored(mix)[:, usual_order(FOUR)]
        torch.testing.assert_close(load_model("mine")(mix), expected, atol=1e-5, rtol=1e-4)
    state["quantized"][0] = (state["quantized"][0][0][::-1], *state["quantized"][0][1:])
    broken = [state, state | {"others": state["others"][1:]}, state | {"meta": {}}]
    for number, damaged in enumerate(broken):
        path = save(restored, tmp_path, f"damaged{number}", state=damaged)
        with pytest.raises(ReleaseError, match="quantized weights do not fit"):
            import_release(path, "third")
