"""What holds for every architecture; the files of the folder `models` are the list."""

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from desmezcla.errors import ParameterError
from desmezcla.exporting import export_core
from desmezcla.inference.engine import EngineOptions
from desmezcla.inference.sources import ArraySource
from desmezcla.inference.torch_runner import torch_engine
from desmezcla.models import build_model, config_class, list_models, model_class
from desmezcla.models.base import Core, InnerCore, SeparationModel
from desmezcla.releases.checkpoint import load_model, save_release
from desmezcla.releases.release import About

KEYS = list_models()
# Configurations, beside the tiny ones themselves, that make a model causal.
CAUSAL_FIELDS: dict[str, dict[str, Any]] = {
    "conv_tasnet": {"causal": True, "norm": "cumulative"},
    "deepsampler": {"causal": True, "synthesis_samples": 128},
    "open_unmix": {"unidirectional": True, "wiener_iterations": 0},
}


def tiny(key: str, **fields: Any) -> SeparationModel[Any]:
    torch.manual_seed(0)
    settings: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    return build_model(key, **settings | fields)


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 2, 33, 1000, 5001])
def test_stems_have_the_shape_of_the_mixture(key: str, channels: int, samples: int) -> None:
    model = tiny(key, channels=channels)
    stems = model(noise(2, channels, samples))
    assert stems.shape == (2, len(model.spec.stems), channels, samples)
    assert stems.dtype == torch.float32
    assert stems.isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_silence_gives_finite_stems(key: str) -> None:
    assert tiny(key)(torch.zeros(1, 2, 3000)).isfinite().all()


@pytest.mark.parametrize("key", KEYS)
def test_items_of_a_batch_do_not_see_each_other(key: str) -> None:
    model = tiny(key)
    mix = noise(3, 2, 4000)
    together = model(mix)
    alone = torch.cat([model(item[None]) for item in mix])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("key", KEYS)
def test_the_mixture_is_left_alone_and_the_result_repeats(key: str) -> None:
    model = tiny(key)
    mix = noise(1, 2, 3000)
    before = mix.clone()
    first = model(mix)
    torch.testing.assert_close(mix, before, rtol=0, atol=0)
    torch.testing.assert_close(model(mix), first, rtol=0, atol=0)


@pytest.mark.parametrize("key", KEYS)
def test_a_release_gives_back_the_model(key: str, tmp_path: Path) -> None:
    model = tiny(key)
    release = save_release(model, tmp_path / "release", About(name="again", license="MIT"))
    again = load_model(release)
    assert again.config == model.config
    assert again.spec == model.spec
    mix = noise(1, 2, 3000)
    torch.testing.assert_close(again(mix), model(mix), rtol=0, atol=0)


@pytest.mark.parametrize("key", KEYS)
def test_gradients_are_finite_and_reach_every_parameter(key: str) -> None:
    model = tiny(key)
    parameters = dict(model.named_parameters())
    if not parameters:
        return  # nothing to train
    model(noise(2, 2, 3000)).square().sum().backward()
    for name, parameter in parameters.items():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


def band_limited_stems(rate: int, seconds: float) -> torch.Tensor:
    """Return four stereo signals that differ in pitch, time and place. Shape: `[4, 2, T]`."""
    t = torch.arange(round(rate * seconds)) / rate
    voice = sum(torch.sin(2 * torch.pi * k * 300 * t + torch.sin(30 * t)) / k for k in (1, 2))
    ticks = noise(len(t)) * 8 * torch.exp(-20 * (t % 0.25))
    ticks = ticks - torch.nn.functional.avg_pool1d(ticks[None, None], 3, 1, 1)[0, 0]
    bass = torch.sin(2 * torch.pi * 80 * t) * (1 + torch.cos(6 * t))
    chord = sum(torch.sin(2 * torch.pi * f * t) for f in (1000.0, 1250.0, 1500.0))
    signals = torch.stack([torch.as_tensor(x) for x in (voice, ticks, bass, chord)])
    signals = 0.1 * signals / signals.square().mean(-1, keepdim=True).sqrt()
    places = torch.tensor([[1.0, 1.0], [0.9, 1.1], [1.0, 0.9], [1.2, 0.6]])
    return signals[:, None] * places[..., None]


def mean_sdr_db(estimates: torch.Tensor, stems: torch.Tensor) -> torch.Tensor:
    energy, error = stems.square().sum((-1, -2)), (estimates - stems).square().sum((-1, -2))
    return 10 * torch.log10(energy / (error + 1e-9)).mean()


LEARNING = [(key, False) for key in KEYS if any(True for _ in tiny(key).parameters())]


@pytest.mark.parametrize(("key", "live"), [*LEARNING, *((key, True) for key in CAUSAL_FIELDS)])
def test_one_example_can_be_learned_by_heart(key: str, live: bool) -> None:
    model = tiny(key, sample_rate=8000, **CAUSAL_FIELDS[key] if live else {})
    stems = band_limited_stems(8000, 2.0)[None, : len(model.spec.stems)]
    mix = stems.sum(1)
    torch.manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    reached = -np.inf
    for step in range(400):
        if step % 20 == 0:
            with torch.no_grad():
                reached = float(mean_sdr_db(model.eval()(mix), stems))
            if reached > 10:
                break
        optimizer.zero_grad()
        loss = -mean_sdr_db(model.train().training_waveforms(mix, stems), stems)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    assert reached > 10, f"{reached:.1f} dB after {step} steps"


def causal(key: str) -> SeparationModel[Any]:
    return tiny(key, **CAUSAL_FIELDS.get(key, {}))


CAUSAL = [key for key in KEYS if causal(key).spec.causal]


@pytest.mark.parametrize("key", CAUSAL)
def test_a_causal_model_does_not_look_further_ahead_than_it_says(key: str) -> None:
    model = causal(key)
    assert model.spec.causal
    latency, length = model.spec.latency_samples, 6000
    mix, other = noise(1, 2, length), noise(1, 2, length, seed=1)
    expected = model(mix)
    for now in (0, 1, 777, 3000):
        changed = mix.clone()
        changed[..., now + latency + 1 :] = other[..., now + latency + 1 :]
        torch.testing.assert_close(
            model(changed)[..., : now + 1], expected[..., : now + 1], rtol=0, atol=1e-6
        )
    # The figure is the true one, and not a safe bound far above it.
    early = mix.clone()
    early[..., 3000 + latency // 2 :] = other[..., 3000 + latency // 2 :]
    assert not torch.allclose(model(early)[..., :3001], expected[..., :3001], rtol=0, atol=1e-6)


# Configurations, beside the tiny ones and those for streams, that decide what can be exported.
PLAIN_FIELDS: dict[str, dict[str, Any]] = {
    "d3net": {"wiener_iterations": 0},
    "demucs": {"hidden_channels": 16, "depth": 2, "dconv_lstm": 2, "dconv_attn": 1},
    "open_unmix": {"wiener_iterations": 0},
    "open_unmix_conv": {"wiener_iterations": 0, "residual": True},
    "spleeter_unet": {"mask_extension": "average"},
    "wave_unet": {"context": False},
}
EXPORTED = [
    (key, fields)
    for key in KEYS
    for fields in ({}, PLAIN_FIELDS.get(key), CAUSAL_FIELDS.get(key))
    if fields is not None and tiny(key, **fields).core() is not None
]
LENGTHS = (700, 3000, 5001)


def run_core(core: Core | InnerCore, mix: torch.Tensor, run: Any) -> torch.Tensor:
    """Separate with a core whose network is run by a function of its inputs."""
    if isinstance(core, InnerCore):
        return core.leave(mix, run(*core.enter(mix)))
    outputs = run(*map(torch.from_numpy, core.front_end.before(mix.numpy())))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    arrays = tuple(output.detach().numpy() for output in outputs)
    return torch.from_numpy(core.front_end.after(arrays, mix.numpy()))


@pytest.mark.parametrize(("key", "fields"), EXPORTED)
def test_the_core_is_the_network_of_the_model(key: str, fields: dict[str, Any]) -> None:
    model = tiny(key, **fields).eval()
    core = model.core()
    assert core is not None
    for samples in (33, *LENGTHS):
        mix = noise(1, 2, samples)
        stems = run_core(core, mix, core.network)
        torch.testing.assert_close(stems, model(mix), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("key", "fields"), EXPORTED)
def test_the_core_exported_to_onnx_gives_the_same(
    key: str, fields: dict[str, Any], tmp_path: Path
) -> None:
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    path = tmp_path / "core.onnx"
    model = tiny(key, **fields).eval()
    core = export_core(model, path, noise(1, 2, 3000))
    session = runtime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]

    def run(*inputs: torch.Tensor) -> Any:
        arrays = (x.numpy() for x in inputs)
        outputs = session.run(None, dict(zip(names, arrays, strict=True)))
        results = tuple(map(torch.from_numpy, outputs))
        return results[0] if isinstance(core, InnerCore) else results

    for samples in LENGTHS:
        mix = noise(1, 2, samples, seed=samples)
        with torch.no_grad():
            expected = model(mix)
        largest = float(expected.abs().max())
        torch.testing.assert_close(run_core(core, mix, run), expected, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("key", KEYS)
def test_the_engine_gives_stems_of_exact_length(key: str) -> None:
    engine = torch_engine(tiny(key), EngineOptions())
    length = 2 * engine.spec.segment_samples + 123
    audio = noise(2, length).numpy()
    blocks = list(engine.stream(ArraySource(audio, engine.spec.sample_rate)))
    assert np.concatenate(blocks, axis=-1).shape == (len(engine.spec.stems), 2, length)


@pytest.mark.parametrize("key", KEYS)
def test_a_wrong_shape_or_type_is_refused(key: str) -> None:
    model = tiny(key)
    for mix in (noise(2, 1000), noise(1, 3, 1000), noise(1, 2, 0)):
        with pytest.raises(ParameterError, match=r"\[B, C, T\]"):
            model(mix)
    with pytest.raises(ParameterError, match="float32"):
        model(torch.zeros(1, 2, 100, dtype=torch.int16))


@pytest.mark.parametrize("key", KEYS)
def test_every_architecture_says_where_it_comes_from(key: str) -> None:
    text = importlib.import_module(f"desmezcla.models.{key}").__doc__ or ""
    assert "Differences from" in text
    assert model_class(key).__doc__
    assert config_class(key).__doc__


@pytest.mark.parametrize("key", KEYS)
def test_an_unknown_field_is_refused(key: str) -> None:
    with pytest.raises(ParameterError, match="hiden_size=3"):
        build_model(key, hiden_size=3)


def test_an_unknown_architecture_is_refused() -> None:
    with pytest.raises(ParameterError, match="model='open_unmux'"):
        build_model("open_unmux")
