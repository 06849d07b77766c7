"""The `demucs` package, of the authors of Demucs, is the reference for its three networks."""

import warnings
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.exporting.model import export_model
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.onnx_runner import OnnxRunner
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine
from desmezcla.models import build_model
from desmezcla.models.base import SeparationModel
from desmezcla.nn import sparse_attention
from desmezcla.nn.sparse_attention import SparseAttention, attention

RATE = 44100
PEER = "demucs 4.1.0"
FOUR = ("drums", "bass", "other", "vocals")
SIX = (*FOUR, "guitar", "piano")
CLASSES = {"demucs": "Demucs", "hybrid_demucs": "HDemucs", "ht_demucs": "HTDemucs"}
RENAMED = {"channels": "hidden_channels", "audio_channels": "channels", "samplerate": "sample_rate"}


@pytest.fixture(scope="module")
def originals() -> Iterator[Any]:
    """Import the package, which warns of what newer versions of torch think of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip("demucs", reason="the demucs package is not installed")
        yield pytest.importorskip("demucs.apply")


def pair(
    originals: Any, key: str, sources: tuple[str, ...] = FOUR, **arguments: Any
) -> tuple[Any, SeparationModel[Any]]:
    """Return a network of the package with random weights, and ours with the same."""
    torch.manual_seed(0)
    original = getattr(originals, CLASSES[key])(list(sources), **arguments).eval()
    for name, parameter in original.named_parameters():
        # As after training: the residual branches count, and no norm is the identity.
        if name.endswith("scale"):
            torch.nn.init.uniform_(parameter, 0.0, 0.5)
        elif "norm" in name:
            torch.nn.init.uniform_(parameter, 0.5, 1.5)
    fields = {RENAMED.get(name, name): value for name, value in arguments.items()}
    if "segment" in fields:
        fields["segment_s"] = float(fields.pop("segment"))
    ours = build_model(key, stems=sources, **fields)
    ours.load_state_dict(original.state_dict(), strict=True)
    return original, ours


def music(samples: int, *, channels: int = 2, seed: int = 0) -> torch.Tensor:
    """Make noise whose level swells, with another colour on each side, and a level of its own."""
    generator = np.random.default_rng(seed)
    noise = generator.standard_normal((channels, samples + 8))
    noise[0] = np.convolve(noise[0], np.ones(8) / 3, mode="same")
    swell = 0.1 + np.sin(np.arange(samples) / RATE * 2 * np.pi * 1.3) ** 2
    return torch.from_numpy((0.1 * noise[:, :samples] * swell + 0.01).astype(np.float32))


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest sample."""
    assert ours.shape == theirs.shape
    return float((ours - theirs).abs().max() / theirs.abs().max())


Record = Callable[[str, object], None]

# Small networks, and one change after the other.
SMALL_TIME: dict[str, Any] = {"channels": 4}
SMALL_HYBRID: dict[str, Any] = {"channels": 4, "segment": 1}
SMALL_TRANSFORMER: dict[str, Any] = {
    "channels": 8,
    "dconv_mode": 3,
    "bottom_channels": 32,
    "t_heads": 2,
    "segment": Fraction(1, 2),
}
SMALLEST_TRANSFORMER: dict[str, Any] = {
    "channels": 4,
    "dconv_comp": 4,
    "dconv_depth": 1,
    "dconv_mode": 1,
    "bottom_channels": 0,
    "t_layers": 2,
    "t_heads": 2,
    "segment": 2,
}
VARIANTS: list[tuple[str, tuple[str, ...], dict[str, Any], float]] = [
    ("demucs", FOUR, {"channels": 8}, 2.0),
    ("demucs", FOUR, SMALL_TIME | {"dconv_mode": 3, "dconv_lstm": 2, "norm_starts": 2}, 1.0),
    (
        "demucs",
        FOUR,
        SMALL_TIME | {"dconv_mode": 0, "gelu": False, "lstm_layers": 2, "normalize": False},
        0.5,
    ),
    ("demucs", SIX, SMALL_TIME | {"resample": False, "context": 2, "audio_channels": 1}, 0.7),
    ("hybrid_demucs", FOUR, {"channels": 8}, 3.3),
    ("hybrid_demucs", FOUR, SMALL_HYBRID | {"hybrid_old": True}, 1.0),
    ("hybrid_demucs", FOUR, SMALL_HYBRID | {"cac": False, "dconv_mode": 3}, 0.5),
    ("hybrid_demucs", SIX, SMALL_HYBRID | {"channels_time": 8, "freq_emb": 0.0}, 0.5),
    ("hybrid_demucs", FOUR, SMALL_HYBRID | {"nfft": 1024, "depth": 5, "context_enc": 1}, 0.01),
    ("ht_demucs", FOUR, SMALL_TRANSFORMER, 0.5),
    ("ht_demucs", SIX, SMALL_TRANSFORMER | {"bottom_channels": 0}, 0.3),
    ("ht_demucs", FOUR, SMALL_TRANSFORMER | {"t_cross_first": True, "t_layers": 4}, 0.5),
    ("ht_demucs", FOUR, SMALL_TRANSFORMER | {"use_train_segment": False, "dconv_mode": 1}, 0.8),
]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("key", "sources", "arguments", "seconds"), VARIANTS)
def test_a_segment_is_separated_as_by_the_original(
    originals: Any,
    record_property: Record,
    key: str,
    sources: tuple[str, ...],
    arguments: dict[str, Any],
    seconds: float,
) -> None:
    original, ours = pair(originals, key, sources, **arguments)
    channels = arguments.get("audio_channels", 2)
    samples = round(seconds * RATE) + 1
    if key == "ht_demucs" and arguments.get("use_train_segment", True):
        samples = min(samples, ours.spec.segment_samples)
    mix = torch.stack([music(samples, channels=channels, seed=seed) for seed in range(2)])
    with torch.no_grad():
        error = difference(ours(mix), original(mix))
    what = f"one segment, {len(sources)} stems"
    record_property("parity", f"{key}|{PEER}|{what}|{error:.1e}")
    assert error < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "sources", "arguments", "seconds", "millions"),
    [
        ("demucs", FOUR, {}, 0.5, 133.8),
        ("hybrid_demucs", FOUR, {}, 1.0, 83.6),
        ("ht_demucs", FOUR, {"bottom_channels": 512}, 1.0, 42.0),
        ("ht_demucs", SIX, {"bottom_channels": 0}, 1.0, 27.4),
    ],
)
def test_a_network_of_the_published_size_does_the_same(
    originals: Any,
    record_property: Record,
    key: str,
    sources: tuple[str, ...],
    arguments: dict[str, Any],
    seconds: float,
    millions: float,
) -> None:
    if key == "ht_demucs":
        arguments = arguments | {"dconv_mode": 3, "use_train_segment": False}
    original, ours = pair(originals, key, sources, **arguments)
    parameters = sum(p.numel() for p in ours.parameters())
    assert parameters == pytest.approx(millions * 1e6, rel=2e-3)
    mix = music(round(seconds * RATE))[None]
    with torch.no_grad():
        error = difference(ours(mix), original(mix))
    what = f"one segment, {len(sources)} stems, published size"
    record_property("parity", f"{key}|{PEER}|{what}|{error:.1e}")
    assert error < 1e-5


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("key", "sources", "arguments", "seconds"),
    [
        ("demucs", FOUR, SMALL_TIME | {"segment": 5}, 60.0),
        ("hybrid_demucs", FOUR, SMALL_HYBRID | {"segment": 5}, 60.0),
        ("ht_demucs", FOUR, SMALLEST_TRANSFORMER, 60.0),
        ("ht_demucs", SIX, SMALL_TRANSFORMER, 1.9),
        ("ht_demucs", FOUR, SMALL_TRANSFORMER, 0.21),
        ("demucs", FOUR, SMALL_TIME | {"segment": 1}, 0.21),
    ],
)
def test_a_track_is_separated_as_by_the_original(
    originals: Any,
    record_property: Record,
    key: str,
    sources: tuple[str, ...],
    arguments: dict[str, Any],
    seconds: float,
) -> None:
    original, ours = pair(originals, key, sources, **arguments)
    track = music(round(seconds * RATE) + 17)
    blocks = torch_engine(ours, EngineOptions(overlap=0.25)).stream(
        ArraySource(track.numpy(), RATE)
    )
    stems = torch.from_numpy(np.concatenate(list(blocks), axis=-1))
    # As demucs' own program does it: the track's level is taken off before.
    middle = track.mean(0)
    level, deviation = middle.mean(), middle.std() + 1e-8
    with torch.no_grad():
        theirs = originals.apply_model(
            original, ((track - level) / deviation)[None], shifts=0, split=True, overlap=0.25
        )[0]
    error = difference(stems, theirs * deviation + level)
    what = f"a track of {seconds:g} s, {len(sources)} stems"
    record_property("parity", f"{key}|{PEER}|{what}|{error:.1e}")
    assert error < 1e-4


def test_a_longer_mixture_than_a_segment_is_taken_in_one_piece() -> None:
    torch.manual_seed(0)
    model = build_model("ht_demucs", hidden_channels=8, bottom_channels=16, segment_s=0.2)
    mix = music(RATE // 2)[None]
    with torch.no_grad():
        stems = model(mix)
        # What comes last does not fall outside of what the model has seen.
        changed = mix.clone()
        changed[..., -2000:] = 0
        assert stems.shape[-1] == mix.shape[-1]
        assert not torch.allclose(model(changed)[..., -2000:], stems[..., -2000:])


@pytest.mark.parametrize("matrix_unit", [False, True])
def test_attention_in_bfloat16_is_attention(
    matrix_unit: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_attention, "has_matrix_unit", lambda: matrix_unit)
    generator = torch.Generator().manual_seed(0)
    # More queries than are taken at once, heads apart from each other in memory.
    q, k, v = (
        torch.randn(1, places, 2, 16, generator=generator).transpose(1, 2)
        for places in (sparse_attention.QUERIES_AT_ONCE + 30, 90, 90)
    )
    expected = (q @ k.mT / 4).softmax(-1) @ v
    got = attention(q.bfloat16(), k.bfloat16(), v.bfloat16())
    assert got.dtype == torch.bfloat16
    torch.testing.assert_close(got.float(), expected, rtol=0, atol=0.03)


def test_sparse_attention_without_sparsity_is_attention() -> None:
    torch.manual_seed(0)
    layer = SparseAttention(16, 2, sparsity=0.0).eval()
    x, other = torch.randn(2, 75, 16), torch.randn(2, 40, 16)
    q, k, v = (
        part(of).unflatten(-1, (2, -1)).transpose(1, 2)
        for part, of in ((layer.q, x), (layer.k, other), (layer.v, other))
    )
    expected = layer.proj(attention(q, k, v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x, other), expected)


def test_sparse_attention_finds_the_keys_that_matter() -> None:
    # Each of 400 queries has four keys like itself, which dense attention sees alone.
    generator = torch.Generator().manual_seed(0)
    kinds = torch.randn(100, 32, generator=generator)
    x = 12 * torch.nn.functional.normalize(kinds, dim=-1).repeat(4, 1)[None]
    layer = SparseAttention(32, 1, sparsity=0.9).eval()
    for part in (layer.q, layer.k, layer.v, layer.proj):
        torch.nn.init.eye_(part.weight)
        torch.nn.init.zeros_(part.bias)
    with torch.no_grad():
        error = (layer(x, x) - x).norm(dim=-1) / x.norm(dim=-1)  # [1, N]
    # A query at the border of its group may lose them to the majority.
    assert (error < 0.05).float().mean() > 0.9


@pytest.mark.parametrize("cross", [True, False])
def test_a_sparse_network_repeats_itself_and_keeps_batches_apart(cross: bool) -> None:
    torch.manual_seed(0)
    model = build_model(
        "ht_demucs",
        hidden_channels=8,
        bottom_channels=16,
        segment_s=0.5,
        t_heads=2,
        t_sparse_self_attn=True,
        t_sparse_cross_attn=cross,
        t_auto_sparsity=True,
    )
    mix = torch.stack([music(20000, seed=seed) for seed in range(2)])
    stems = model(mix)
    torch.testing.assert_close(model(mix), stems, rtol=0, atol=0)
    torch.testing.assert_close(model(mix[1:])[0], stems[1], rtol=1e-4, atol=1e-5)
    stems.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def test_what_is_not_there_is_refused() -> None:
    for key, fields in (
        ("ht_demucs", {"t_sparse_self_attn": True}),
        ("ht_demucs", {"bottom_channels": 30}),
        ("ht_demucs", {"depth": 6}),
        ("hybrid_demucs", {"nfft": 2048}),
        ("hybrid_demucs", {"hidden_channels": 1}),
        ("hybrid_demucs", {"kernel_size": 4}),
        ("demucs", {"kernel_size": 2}),
        ("demucs", {"stride": 3}),
        ("demucs", {"hidden_channels": 3}),
    ):
        with pytest.raises(ParameterError, match=r"must|divide"):
            build_model(key, **fields)


def test_demucs_without_recurrence_can_be_exported(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    assert build_model("demucs", hidden_channels=8, depth=3, dconv_lstm=2).core() is None
    torch.manual_seed(0)
    model = build_model(
        "demucs", hidden_channels=16, depth=2, dconv_lstm=2, dconv_attn=1, dconv_depth=1
    )
    export_model(model.eval(), tmp_path / "model.onnx")
    runner = OnnxRunner(tmp_path / "model.onnx")
    for samples in (1000, 5000):
        mix = music(samples)[None]
        stems = torch.from_numpy(runner.run(mix.numpy()))
        torch.testing.assert_close(stems, model(mix).detach(), rtol=1e-4, atol=1e-4)
