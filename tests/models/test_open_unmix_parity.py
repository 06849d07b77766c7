"""The `openunmix` package, of the authors of Open-Unmix, is the reference."""

import importlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import torch

import desmezcla
from desmezcla.releases.importers import import_release

RATE = 44100
TARGETS = ("vocals", "drums", "bass", "other")


@pytest.fixture(scope="module")
def openunmix() -> Any:
    """Import the package, with an empty module for torchaudio, of which nothing here is called."""
    pytest.importorskip("tqdm")
    absent = "torchaudio" not in sys.modules
    if absent:
        sys.modules["torchaudio"] = types.ModuleType("torchaudio")
    try:
        pytest.importorskip("openunmix", reason="the openunmix package is not installed")
        yield types.SimpleNamespace(
            model=importlib.import_module("openunmix.model"),
            utils=importlib.import_module("openunmix.utils"),
            filtering=importlib.import_module("openunmix.filtering"),
        )
    finally:
        if absent:
            del sys.modules["torchaudio"]


def write_checkpoint(package: Any, folder: Path, *, unidirectional: bool) -> Any:
    """Write a folder as the package's training script does, and return its own separator."""
    folder.mkdir()
    n_fft, hop, hidden = 4096, 1024, 64
    settings = {"nfft": n_fft, "nhop": hop, "sample_rate": float(RATE), "nb_channels": 2}
    (folder / "separator.json").write_text(json.dumps(settings))
    networks = {}
    torch.manual_seed(0)
    for target in TARGETS:
        network = package.model.OpenUnmix(
            nb_bins=n_fft // 2 + 1,
            nb_channels=2,
            hidden_size=hidden,
            max_bin=package.utils.bandwidth_to_max_bin(RATE, n_fft, 16000),
            unidirectional=unidirectional,
        )
        # As after training: no statistic and no scale is what it was at the start.
        for name, buffer in network.named_buffers():
            if "running" in name:
                buffer.uniform_(0.5, 1.5)
        for name in ("input_mean", "input_scale", "output_scale", "output_mean"):
            getattr(network, name).data.uniform_(0.3, 1.3)
        package.utils.save_checkpoint(
            {"state_dict": network.state_dict()}, True, str(folder), target
        )
        arguments = {
            "target": target,
            "nfft": n_fft,
            "nhop": hop,
            "hidden_size": hidden,
            "bandwidth": 16000,
            "nb_channels": 2,
            "unidirectional": unidirectional,
        }
        (folder / f"{target}.json").write_text(json.dumps({"args": arguments}))
        networks[target] = network
    separator = package.model.Separator(networks, niter=1, sample_rate=float(RATE))
    separator.freeze()
    return separator


def music(seconds: float) -> torch.Tensor:
    """Make a low, a middle and a high source that come and go, each at its place in the stereo.

    They are noise and not tones, since in the bins beside a pure tone there is nothing but
    rounding errors, and what the package makes of those is not its result.
    """
    generator = np.random.default_rng(0)
    samples = round(seconds * RATE)
    time_s = np.arange(samples) / RATE
    audio = 0.01 * generator.standard_normal((2, samples))
    for pole, rate_hz in ((0.99, 0.3), (0.7, 1.1), (-0.6, 4.0)):
        source = scipy.signal.lfilter(
            [1 - abs(pole)], [1, -pole], generator.standard_normal(samples)
        )
        swell = np.clip(np.sin(2 * np.pi * rate_hz * time_s), 0, 1)
        audio += generator.uniform(0.2, 1, (2, 1)) * source * swell
    return torch.from_numpy((0.5 * audio / np.abs(audio).max()).astype(np.float32))


@pytest.mark.parametrize(
    ("seconds", "unidirectional"), [(1, False), (7, False), (7, True), (61, False)]
)
def test_an_imported_checkpoint_gives_the_stems_of_the_original(
    openunmix: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    record_property: Callable[[str, object], None],
    seconds: int,
    unidirectional: bool,
) -> None:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    original = write_checkpoint(openunmix, tmp_path / "umx", unidirectional=unidirectional)
    import_release(tmp_path / "umx", "original")
    separator = desmezcla.Separator("original", segment="track")
    audio = music(seconds)
    ours = separator.separate(audio, RATE)
    with torch.no_grad():
        theirs = original.to_dict(original(audio[None]))
    assert list(ours) == list(TARGETS)
    errors = []
    for stem in TARGETS:
        expected = theirs[stem][0]
        errors.append(float((ours[stem] - expected).abs().max() / expected.abs().max()))
    what = f"a track of {seconds} s{', one direction' if unidirectional else ''}"
    record_property("parity", f"open_unmix|openunmix 1.3.0|{what}|{max(errors):.1e}")
    assert max(errors) < 1e-4


@pytest.mark.parametrize("iterations", [1, 2])
def test_the_wiener_filter_is_that_of_the_original(openunmix: Any, iterations: int) -> None:
    from desmezcla.dsp.wiener import wiener

    generator = torch.Generator().manual_seed(0)
    mix = torch.randn(2, 50, 80, dtype=torch.complex128, generator=generator) * 30
    masks = torch.rand(4, 2, 50, 80, dtype=torch.float64, generator=generator)
    ours = wiener(mix, masks, iterations=iterations, window_frames=None)
    theirs = openunmix.filtering.wiener(
        (masks * mix.abs()).permute(3, 2, 1, 0),  # [N, F, C, S]
        torch.view_as_real(mix.permute(2, 1, 0)).clone(),  # [N, F, C, 2]
        iterations,
    )
    expected = torch.view_as_complex(theirs.permute(4, 2, 1, 0, 3).contiguous())
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))
