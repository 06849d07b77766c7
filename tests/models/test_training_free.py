"""What the training-free models do to signals whose parts are known."""

import importlib
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.models import build_model
from desmezcla.models.base import SeparationModel

KEYS = ["baseline", "center", "hpss", "nmf", "repet"]
RATE = 44100


def tiny(key: str, **fields: Any) -> SeparationModel[Any]:
    settings: dict[str, Any] = importlib.import_module(f"desmezcla.models.{key}").TINY
    return build_model(key, **settings | fields)


def separated(model: SeparationModel[Any], mix: Tensor) -> dict[str, Tensor]:
    with torch.inference_mode():
        return dict(zip(model.spec.stems, model(mix[None])[0], strict=True))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * 0.1


def tone(frequency_hz: float, duration_s: float) -> Tensor:
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    return 0.2 * torch.sin(2 * math.pi * frequency_hz * time_s)


def chord(root_hz: float, duration_s: float) -> Tensor:
    return sum((tone(root_hz * ratio, duration_s) / 3 for ratio in (1, 1.25, 1.5)), torch.tensor(0))


def hits(duration_s: float, *, every_s: float = 0.5) -> Tensor:
    """Play bursts of noise of 30 ms."""
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    return 2 * noise(len(time_s)) * torch.exp(-(time_s % every_s) / 0.01)


def voice(duration_s: float) -> Tensor:
    """Sing a tone with eight harmonics and the vibrato of a singer."""
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    phase = 2 * math.pi * 330 * (time_s - 0.004 / 5.5 * torch.cos(2 * math.pi * 5.5 * time_s))
    return sum((0.1 / n * torch.sin(n * phase) for n in range(1, 9)), torch.tensor(0.0))


def centred(x: Tensor) -> Tensor:
    return torch.stack([x, x])


def sdr_db(reference: Tensor, estimate: Tensor) -> float:
    return float(10 * torch.log10(reference.square().sum() / (reference - estimate).square().sum()))


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("samples", [1, 7, 500, 5000])
def test_the_stems_add_up_to_the_mixture(key: str, channels: int, samples: int) -> None:
    mix = noise(3, channels, samples)
    stems = tiny(key, channels=channels)(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-5)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("level", [1e-15, 1e-4, 1e4])
def test_the_level_of_the_mixture_is_that_of_the_stems(key: str, level: float) -> None:
    model = tiny(key)
    mix = noise(1, 2, 5000)
    torch.testing.assert_close(model(mix * level) / level, model(mix), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("key", KEYS)
@pytest.mark.parametrize("samples", [1, 5000])
def test_silence_gives_silence(key: str, samples: int) -> None:
    assert (tiny(key)(torch.zeros(2, 2, samples)) == 0).all()


@pytest.mark.parametrize("key", KEYS)
def test_a_silent_half_and_a_silent_channel_do_no_harm(key: str) -> None:
    mix = noise(2, 2, 5000)
    mix[0, :, 2500:] = 0
    mix[1, 1] = 0
    stems = tiny(key)(mix)
    torch.testing.assert_close(stems.sum(1), mix, rtol=0, atol=1e-5)
    assert stems[1, :, 1].abs().max() < 1e-6


@pytest.mark.parametrize("key", KEYS)
def test_the_global_random_numbers_are_neither_used_nor_moved(key: str) -> None:
    mix = noise(1, 2, 3000)
    torch.manual_seed(1)
    first = tiny(key)(mix)
    state = torch.get_rng_state()
    torch.manual_seed(2)
    again = tiny(key)(mix)
    assert torch.equal(first, again)
    torch.manual_seed(1)
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("key", KEYS)
def test_low_precision_changes_next_to_nothing(key: str) -> None:
    model, mix = tiny(key), noise(1, 2, 5000)
    expected = model(mix)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = model(mix)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("key", ["hpss", "center"])
def test_what_lies_beyond_the_context_does_not_matter(key: str) -> None:
    model = tiny(key)
    context, hop = model.spec.context_samples, model.spec.hop_samples
    start, end = 60 * hop, 140 * hop
    mix = noise(1, 2, 200 * hop)
    whole = model(mix)[..., start + context : end - context]
    part = model(mix[..., start:end])[..., context:-context]
    torch.testing.assert_close(part, whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("mask", ["soft", "binary"])
def test_hpss_parts_hits_from_a_chord(mask: str) -> None:
    percussive, harmonic = hits(4.0), chord(440.0, 4.0)
    mix = centred(percussive + harmonic)
    stems = separated(build_model("hpss", mask=mask), mix)
    assert sdr_db(centred(harmonic), stems["harmonic"]) > 15
    assert sdr_db(centred(percussive), stems["percussive"]) > 10


def test_hpss_with_a_margin_puts_what_is_neither_into_the_residual() -> None:
    stems = ("harmonic", "percussive", "residual")
    model = build_model("hpss", margin=3.0, mask="binary", stems=stems)
    hiss, harmonic = noise(4 * RATE), chord(440.0, 4.0)
    found = separated(model, centred(hiss + harmonic))
    torch.testing.assert_close(sum(found.values()), centred(hiss + harmonic), rtol=0, atol=1e-5)
    assert found["residual"].square().mean() > 0.7 * hiss.square().mean()
    assert sdr_db(centred(harmonic), found["harmonic"]) > 15


def test_hpss_names_its_stems_by_its_margin() -> None:
    with pytest.raises(ParameterError, match=r"margin=2.0 stems must be .*residual"):
        build_model("hpss", margin=2.0)


def test_repet_parts_a_chirp_from_the_loop_behind_it() -> None:
    loop = torch.cat([chord(root_hz, 0.4) for root_hz in (220, 294, 330, 262)]) + hits(1.6)
    music = loop.repeat(6)
    chirp = torch.zeros_like(music)
    time_s = torch.arange(2 * RATE) / RATE
    chirp[4 * RATE : 6 * RATE] = 0.1 * torch.sin(2 * math.pi * (600 + 400 * time_s) * time_s)
    stems = separated(build_model("repet"), centred(music + chirp))
    assert sdr_db(centred(chirp), stems["vocals"]) > 10
    assert sdr_db(centred(music), stems["accompaniment"]) > 20


def test_repet_takes_no_bass_for_a_voice() -> None:
    once = torch.zeros(6 * RATE)
    once[2 * RATE : 3 * RATE] = tone(70.0, 1.0)
    stems = separated(build_model("repet"), centred(once + 0.01 * noise(6 * RATE)))
    assert stems["vocals"].square().sum() < 0.01 * once.square().sum()


def test_center_parts_the_middle_from_the_sides() -> None:
    middle, left, right = voice(3.0), chord(500.0, 3.0), chord(392.0, 3.0)
    mix = centred(middle) + torch.stack([left, right])
    stems = separated(build_model("center"), mix)
    assert sdr_db(centred(middle), stems["vocals"]) > 10
    assert sdr_db(torch.stack([left, right]), stems["accompaniment"]) > 10


def test_center_leaves_bass_and_opposite_channels_to_the_accompaniment() -> None:
    bass, wide = tone(60.0, 2.0), noise(2 * RATE)
    for mix in (centred(bass), torch.stack([wide, -wide])):
        stems = separated(build_model("center"), mix)
        assert sdr_db(mix, stems["accompaniment"]) > 30


def test_center_of_a_mono_mixture_is_its_voice_band() -> None:
    bass, middle = tone(60.0, 2.0), tone(1000.0, 2.0)
    mono = separated(build_model("center", channels=1), (bass + middle)[None])
    assert sdr_db(middle[None], mono["vocals"]) > 30
    both = separated(build_model("center"), centred(bass + middle))
    torch.testing.assert_close(both["vocals"], mono["vocals"].expand(2, -1))


@pytest.mark.parametrize("divergence", [{}, {"beta": 0.0, "exponent": 2.0}])
def test_nmf_sorts_hits_bass_and_chords(divergence: dict[str, float]) -> None:
    # Notes that always sound together would be one component: these come and go by themselves.
    time_s = torch.arange(4 * RATE) / RATE
    bass = tone(65.0, 4.0) * torch.sin(math.pi * time_s / 2).clamp(min=0).sqrt()
    melody = chord(880.0, 4.0) * torch.sin(math.pi * (time_s - 0.7) / 1.2).clamp(min=0).sqrt()
    parts = {"drums": 3 * hits(4.0), "bass": bass, "other": melody}
    mix = torch.stack(list(parts.values())).sum(0)
    stems = separated(build_model("nmf", channels=1, **divergence), mix[None])
    for stem, part in parts.items():
        assert sdr_db(part[None], stems[stem]) > 10, stem


def test_nmf_depends_on_its_seed() -> None:
    mix = noise(1, 2, 5000)
    assert not torch.equal(tiny("nmf")(mix), tiny("nmf", seed=1)(mix))


def band() -> dict[str, Tensor]:
    """Play four stems that keep to what the baseline takes for granted."""
    duration_s = 6.0
    time_s = torch.arange(round(duration_s * RATE)) / RATE
    since_s = time_s % 1.0
    kick = 0.8 * torch.sin(2 * math.pi * 55 * since_s) * torch.exp(-since_s / 0.04)
    left, right = chord(494.0, duration_s), chord(392.0, duration_s)
    return {
        "vocals": centred(voice(duration_s)),
        "drums": centred(kick + hits(duration_s)),
        "bass": centred(tone(82.0, duration_s)),
        "other": torch.stack([left, 0.2 * right]) + torch.stack([0.2 * left, right]),
    }


@pytest.mark.parametrize("channels", [1, 2])
def test_baseline_finds_all_four_stems_of_a_band(channels: int) -> None:
    parts = {stem: part[:channels] for stem, part in band().items()}
    mix = torch.stack(list(parts.values())).sum(0)
    stems = separated(build_model("baseline", channels=channels), mix)
    for stem, part in parts.items():
        assert sdr_db(part, stems[stem]) > sdr_db(part, mix) + (6 if channels == 1 else 10), stem


@pytest.mark.parametrize("stem", ["vocals", "drums", "bass"])
def test_baseline_leaves_a_stem_alone_that_plays_alone(stem: str) -> None:
    part = band()[stem]
    assert sdr_db(part, separated(build_model("baseline"), part)[stem]) > 6


def test_baseline_takes_a_60_hz_tone_for_bass() -> None:
    part = centred(tone(60.0, 4.0))
    assert sdr_db(part, separated(build_model("baseline"), part)["bass"]) > 10


def test_baseline_hears_wide_chords_as_other() -> None:
    parts = band()
    stems = separated(build_model("baseline"), parts["other"])
    assert sdr_db(parts["other"], stems["other"]) > 10


def test_baseline_can_do_without_factorisation() -> None:
    mix = noise(1, 2, 5000)
    plain = tiny("baseline", iterations=0)(mix)
    torch.testing.assert_close(plain.sum(1), mix, rtol=0, atol=1e-5)
    assert not torch.equal(plain, tiny("baseline")(mix))


@pytest.mark.parametrize(
    ("key", "field"),
    [
        ("hpss", {"harmonic_frames": 16}),
        ("center", {"similarity_frames": 4}),
        ("nmf", {"median_size": 2}),
        ("baseline", {"long_bins": 30}),
    ],
)
def test_a_median_or_mean_without_a_middle_is_refused(key: str, field: dict[str, int]) -> None:
    with pytest.raises(ParameterError, match="must be odd"):
        build_model(key, **field)


@pytest.mark.parametrize("key", ["baseline", "center", "nmf", "repet"])
def test_the_stems_of_a_method_cannot_be_renamed(key: str) -> None:
    with pytest.raises(ParameterError, match="stems"):
        build_model(key, stems=("piano", "guitar", "voice", "rest"))
