from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from desmezcla.errors import ParameterError
from desmezcla.inference.outputs import StemMix, check_template, output_options, track_name

FOUR = ("vocals", "drums", "bass", "other")
GENERATOR = np.random.default_rng(0)
STEMS = GENERATOR.uniform(-0.3, 0.3, (4, 2, 500)).astype(np.float32)
MIXTURE = GENERATOR.uniform(-1, 1, (2, 500)).astype(np.float32)


def mix(step: float | None = None, **options: Any) -> StemMix:
    return StemMix(FOUR, output_options(**options), step)


def test_all_stems_are_written_by_default() -> None:
    assert mix().names == FOUR
    np.testing.assert_array_equal(mix().apply(STEMS, None), STEMS)


def test_chosen_stems_keep_the_order_of_the_wish() -> None:
    chosen = mix(stems=("bass", "vocals"))
    assert chosen.names == ("bass", "vocals")
    np.testing.assert_array_equal(chosen.apply(STEMS, None), STEMS[[2, 0]])


def test_two_stems_are_one_and_the_sum_of_the_others() -> None:
    two = mix(two_stems="drums")
    assert two.names == ("drums", "no_drums")
    drums, rest = two.apply(STEMS, None)
    np.testing.assert_array_equal(drums, STEMS[1])
    np.testing.assert_allclose(rest, STEMS[[0, 2, 3]].sum(axis=0), atol=1e-6)


def test_the_residual_is_what_all_stems_leave() -> None:
    stems = mix(residual=True, stems=("vocals",))
    assert stems.names == ("vocals", "residual")
    residual = stems.apply(STEMS, MIXTURE)[-1]
    np.testing.assert_allclose(residual, MIXTURE - STEMS.sum(axis=0), atol=1e-6)


@given(bits=st.sampled_from([16, 24]), seed=st.integers(0, 1000))
def test_an_exact_sum_is_exact_in_integer_samples(bits: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scale = 2 ** (bits - 1)
    integers = generator.integers(-scale, scale, (2, 300))
    stems = generator.uniform(-0.2, 0.2, (4, 2, 300)).astype(np.float32)
    exact = mix(1 / scale, exact_sum=True).apply(stems, (integers / scale).astype(np.float32))
    written = np.round(exact.astype(np.float64) * scale).astype(np.int64)
    np.testing.assert_array_equal(written.sum(axis=0), integers)
    np.testing.assert_allclose(exact[:3], stems[:3], atol=1 / scale)


def test_an_exact_sum_holds_for_two_stems_too() -> None:
    exact = mix(exact_sum=True, two_stems="vocals").apply(STEMS, MIXTURE)
    np.testing.assert_allclose(exact.sum(axis=0), MIXTURE, atol=1e-6)


def test_without_a_stem_called_other_the_last_one_is_changed() -> None:
    two = StemMix(("harmonic", "percussive"), output_options(exact_sum=True), None)
    exact = two.apply(STEMS[:2], MIXTURE)
    np.testing.assert_array_equal(exact[0], STEMS[0])
    np.testing.assert_allclose(exact.sum(axis=0), MIXTURE, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stems": ("guitar",)}, "'guitar' is not made"),
        ({"stems": ("vocals", "vocals")}, "each once"),
        ({"stems": ()}, "one stem or more"),
        ({"two_stems": "piano"}, "'piano' is not made"),
        ({"two_stems": "vocals", "stems": ("drums",)}, "exclude each other"),
        ({"residual": True, "exact_sum": True}, "exclude each other"),
        ({"stem": ("vocals",)}, "stem="),
        ({"start_s": -1}, "start_s=-1"),
        ({"duration_s": 0}, "duration_s=0"),
        ({"duration_s": float("inf")}, "duration_s=inf"),
        ({"sample_rate": 5}, "sample_rate=5"),
        ({"bitrate": 0}, "bitrate=0"),
    ],
)
def test_options_out_of_range_are_refused(options: Any, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        mix(**options)


@pytest.mark.parametrize(
    "template",
    [
        "{track}/{voice}.{ext}",
        "{track}.{ext}",
        "/tmp/{stem}.wav",
        "../{stem}.wav",
        "{track}/../{stem}.wav",
        "{stem",
        "{stem.__class__}.wav",
        "{}.wav",
    ],
)
def test_templates_that_lead_astray_are_refused(template: str) -> None:
    with pytest.raises(ParameterError, match="filename="):
        check_template(template)


@pytest.mark.parametrize(
    "template", ["{filename}/{instrument}.{codec}", "{track} - {stem}.{trackext}"]
)
def test_the_words_of_other_programs_are_known(template: str) -> None:
    check_template(template)


@pytest.mark.parametrize(
    ("name", "track"),
    [
        ("a.mp3", "a"),
        ("a.b.flac", "a.b"),
        ("Falcon 69.stem.mp4", "Falcon 69"),
        ("noending", "noending"),
        ("..mp3", "_."),
        ("...mp3", "_.."),
    ],
)
def test_a_track_is_named_by_its_file(name: str, track: str) -> None:
    assert track_name(Path("folder") / name) == track
