"""What all augmentations have in common: shapes, random numbers, order, configuration, document."""

import json
import re
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from desmezcla.datasets.augment import (
    AnyAugmentation,
    Audio,
    Augment,
    Augmentation,
    BatchMixing,
    Gain,
    GaussianNoise,
    Normalise,
    SignalAugmentation,
    Silence,
    augment_from,
)
from desmezcla.errors import ParameterError

STEMS = ("vocals", "drums", "bass", "other")
RATE = 44100
CLASSES: list[type[Augmentation]] = list(get_args(get_args(AnyAugmentation)[0]))
KINDS = [cls.model_fields["kind"].default for cls in CLASSES]
SIGNAL_KINDS = [
    kind for kind, cls in zip(KINDS, CLASSES, strict=True) if issubclass(cls, SignalAugmentation)
]
DOCS = Path(__file__).parents[2] / "docs" / "augmentation.md"


def noise(*shape: int, seed: int = 1) -> Audio:
    return 0.1 * np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def augment(*augmentations: Augmentation) -> Augment:
    return Augment(augmentations, stems=STEMS, sample_rate=RATE)


def batch_of(chain: Augment, stems: Audio, seed: int = 0) -> tuple[Audio, Audio]:
    """Return a batch `[B, C, T]`, `[B, S, C, T]` as a loader makes it."""
    rng = np.random.default_rng(seed)
    mixtures, targets = zip(*[chain.example(song, rng) for song in stems], strict=True)
    return chain.batch(np.stack(mixtures), np.stack(targets), rng)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", KINDS)
def test_shapes_and_inputs_are_kept_and_the_seed_fixes_the_result(kind: str, channels: int) -> None:
    chain = augment_from([{"kind": kind, "p": 1}], stems=STEMS, sample_rate=RATE)
    stems = noise(3, 4, channels, 5000)
    before = stems.copy()
    mixture, targets = batch_of(chain, stems)
    assert mixture.shape == (3, channels, 5000)
    assert targets.shape == stems.shape
    assert mixture.dtype == targets.dtype == np.float32
    assert np.isfinite(mixture).all()
    assert np.isfinite(targets).all()
    np.testing.assert_array_equal(stems, before)
    again = batch_of(chain, stems)
    np.testing.assert_array_equal(again[0], mixture)
    np.testing.assert_array_equal(again[1], targets)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "normalise"])
def test_another_seed_gives_another_result(kind: str) -> None:
    chain = augment_from([{"kind": kind, "p": 0.5}], stems=STEMS, sample_rate=RATE)
    stems = noise(3, 4, 2, 3000)
    results = [batch_of(chain, stems, seed)[0] for seed in range(4)]
    assert any(not np.array_equal(results[0], other) for other in results[1:])


@pytest.mark.parametrize("kind", KINDS)
def test_silence_stays_silent(kind: str) -> None:
    chain = augment_from([{"kind": kind, "p": 1}], stems=STEMS, sample_rate=RATE)
    mixture, targets = batch_of(chain, np.zeros((2, 4, 2, 5000), np.float32))
    # Codecs have the noise of their rounding.
    assert np.abs(mixture).max() < 1e-6
    assert np.abs(targets).max() < 1e-6


@pytest.mark.parametrize("samples", [1, 2, 1000])
@pytest.mark.parametrize("kind", KINDS)
def test_segments_may_be_short(kind: str, samples: int) -> None:
    chain = augment_from([{"kind": kind, "p": 1}], stems=STEMS, sample_rate=RATE)
    mixture, targets = batch_of(chain, noise(2, 4, 2, samples))
    assert mixture.shape == (2, 2, samples)
    assert np.isfinite(targets).all()


@pytest.mark.parametrize("kind", KINDS)
def test_with_probability_0_nothing_is_changed(kind: str) -> None:
    chain = augment_from([{"kind": kind, "p": 0}], stems=STEMS, sample_rate=RATE)
    stems = noise(2, 4, 2, 1000)
    mixture, targets = batch_of(chain, stems)
    np.testing.assert_array_equal(targets, stems)
    np.testing.assert_array_equal(mixture, stems.sum(axis=1))


@pytest.mark.parametrize("kind", SIGNAL_KINDS)
def test_the_mixture_is_the_sum_of_changed_stems(kind: str) -> None:
    chain = augment_from([{"kind": kind, "p": 1, "on": "stems"}], stems=STEMS, sample_rate=RATE)
    mixture, targets = batch_of(chain, noise(2, 4, 2, 4000))
    np.testing.assert_array_equal(mixture, targets.sum(axis=1))


@pytest.mark.parametrize("kind", SIGNAL_KINDS)
def test_only_the_stems_that_are_named_are_changed(kind: str) -> None:
    config = {"kind": kind, "p": 1, "on": "stems", "stems": ["drums", "other"]}
    chain = augment_from([config], stems=STEMS, sample_rate=RATE)
    stems = noise(4, 2, 4000)
    _, targets = chain.example(stems, np.random.default_rng(0))
    changed = [not np.array_equal(a, b) for a, b in zip(stems, targets, strict=True)]
    assert changed == [False, True, False, True]


@pytest.mark.parametrize(
    "kind", [kind for kind in SIGNAL_KINDS if kind not in ("gaussian_noise", "silence")]
)
def test_together_makes_the_same_draw_for_all_stems(kind: str) -> None:
    config = {"kind": kind, "p": 0.5, "on": "stems", "together": True}
    chain = augment_from([config], stems=STEMS, sample_rate=RATE)
    same = np.broadcast_to(noise(2, 4000), (4, 2, 4000))
    for seed in range(3):
        _, targets = chain.example(same, np.random.default_rng(seed))
        for target in targets[1:]:
            np.testing.assert_array_equal(target, targets[0])


@pytest.mark.parametrize("kind", ["gaussian_noise", "eq", "soft_clip", "reverb", "codec"])
def test_a_change_of_the_mixture_leaves_the_targets(kind: str) -> None:
    chain = augment_from([{"kind": kind, "p": 1, "on": "mixture"}], stems=STEMS, sample_rate=RATE)
    stems = noise(4, 2, 4000)
    mixture, targets = chain.example(stems, np.random.default_rng(0))
    np.testing.assert_array_equal(targets, stems)
    assert np.abs(mixture - stems.sum(axis=0)).max() > 1e-4


@settings(max_examples=10)
@given(p=st.floats(0, 1), seed=st.integers(0, 1000))
def test_p_is_the_probability_for_each_stem(p: float, seed: int) -> None:
    names = tuple(map(str, range(2000)))
    chain = Augment([Silence(p=p)], stems=names, sample_rate=RATE)
    _, targets = chain.example(np.ones((2000, 1, 1), np.float32), np.random.default_rng(seed))
    # Five standard deviations, and room for none.
    assert abs((targets == 0).mean() - p) <= 5 * (p * (1 - p) / 2000) ** 0.5 + 1e-9


def test_stems_come_first_then_the_batch_then_the_mixture() -> None:
    chain = augment(Normalise(peak=0.5), GaussianNoise(), BatchMixing(), Gain())
    stems = noise(3, 4, 2, 500)
    mixture, targets = batch_of(chain, stems)
    # Peaks are exact, so normalisation came after mixing; noise, which is listed after it, last.
    assert chain.needs_batch
    exact = [np.abs(target.sum(axis=0)).max() for target in targets]
    np.testing.assert_allclose(exact, 0.5, rtol=1e-5)
    assert all((m != t.sum(axis=0)).any() for m, t in zip(mixture, targets, strict=True))


def test_without_changes_of_batches_examples_are_complete() -> None:
    chain = augment(Normalise(), Gain())
    assert not chain.needs_batch
    mixture, stems = chain.example(noise(4, 2, 500), np.random.default_rng(0))
    assert np.abs(mixture).max() == 1
    found = chain.batch(mixture[None], stems[None], np.random.default_rng(0))
    np.testing.assert_array_equal(found[0][0], mixture)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"kind": "loudness"}, "loudness"),
        ({"kind": "gain", "faktor": [0, 1]}, "faktor"),
        ({"kind": "gain", "factor": [1, 0]}, "exceeds"),
        ({"kind": "gain", "p": 1.5}, "p="),
        ({"kind": "gain", "stems": ["piano"]}, "piano"),
        ({"kind": "gain", "on": "mixture"}, "on="),
        ({"kind": "eq", "on": "mixture", "stems": ["bass"]}, "on='mixture'"),
        ({"kind": "eq", "frequency_hz": [0, 100]}, "above 0"),
        ({"kind": "eq", "gain_db": [0, float("inf")]}, "finite"),
        ({"kind": "pitch_shift", "semitones": [-20, 0]}, "between -12 and 12"),
        ({"kind": "tempo_stretch", "rate": [0.1, 1]}, "between 0.5 and 2"),
        ({"kind": "codec", "codings": ["ogg"]}, "ogg"),
        ({"p": 1}, "kind"),
    ],
)
def test_a_wrong_recipe_is_refused(config: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        augment_from([config], stems=STEMS, sample_rate=RATE)


def test_wrong_shapes_and_types_are_refused() -> None:
    chain = augment(Gain(), BatchMixing())
    rng = np.random.default_rng(0)
    for wrong in (noise(3, 2, 10), noise(2, 4, 2, 10), noise(4, 2, 10).astype(np.float64)):
        with pytest.raises(ParameterError, match=r"\[S, C, T\]"):
            chain.example(wrong, rng)  # type: ignore[arg-type]
    with pytest.raises(ParameterError, match=r"\[B, S, C, T\]"):
        chain.batch(noise(2, 10), noise(4, 2, 10), rng)


def test_the_document_lists_every_kind_and_field() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for kind, cls in zip(KINDS, CLASSES, strict=True):
        section = re.search(rf"^### `{kind}`\n(.*?)(?=^##|\Z)", text, re.M | re.S)
        assert section, f"docs/augmentation.md has no section `{kind}`"
        for name in cls.__annotations__.keys() - {"kind"}:
            row = re.search(rf"^\| `{name}` \| (.*?) \|", section[1], re.M)
            assert row, f"docs/augmentation.md does not describe `{name}` of `{kind}`"
            default = json.dumps(cls.model_fields[name].default).replace('"', "")
            assert row[1] == default, (kind, name, row[1])
