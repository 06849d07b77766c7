"""What is known of MUSDB18's tracks, and its samples as other programs read them."""

import importlib.util
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.datasets.musdb import STEMS, musdb_facts
from desmezcla.datasets.opening import open_dataset
from desmezcla.datasets.reading import TrackInfo, read_stem, track_info
from desmezcla.datasets.track import Track

GOLDEN = Path(__file__).parents[1] / "golden" / "stempeg" / "falcon69.json"


def test_the_facts_name_the_150_tracks_and_the_usual_14_for_validation() -> None:
    facts = musdb_facts()
    assert Counter(fact.split for fact in facts.values()) == {"train": 86, "valid": 14, "test": 50}
    assert all(fact.genre and fact.source and fact.licence for fact in facts.values())
    assert {fact.genre for fact in facts.values()} >= {"Rock", "Rap", "Jazz", "Electronic"}


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    content: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
    return content


@pytest.fixture(scope="module")
def falcon(golden: dict[str, Any]) -> Track:
    # Importing stempeg needs an ffmpeg program; its file is enough.
    spec = importlib.util.find_spec("stempeg")
    places = spec.submodule_search_locations if spec else None
    folder = Path(next(iter(places))) / "data" if places else None
    if folder is None or not (folder / golden["file"]).is_file():
        pytest.skip("the package stempeg, with the song to compare, is not installed")
    (track,) = open_dataset(folder).tracks
    return track


def test_the_song_of_stempeg_is_known(falcon: Track, golden: dict[str, Any]) -> None:
    assert falcon.name == golden["file"].removesuffix(".stem.mp4")
    assert falcon.split == "test"
    assert falcon.licence == "CC BY-NC-SA 3.0"
    assert set(falcon.stems) == set(STEMS)
    info = TrackInfo(golden["length_samples"], golden["sample_rate"], channels=2)
    assert track_info(falcon) == info


@pytest.mark.parametrize("stem", ["mixture", *STEMS])
def test_the_samples_are_those_that_stempeg_reads_through_ffmpeg(
    stem: str, falcon: Track, golden: dict[str, Any]
) -> None:
    audio = read_stem(falcon, stem, sample_rate=golden["sample_rate"], channels=2)
    expected = golden["streams"][stem]
    assert audio.shape == (2, golden["length_samples"])
    # Measured: 2e-7.
    np.testing.assert_allclose(audio[:, golden["places"]], expected["samples"], atol=1e-6)
    assert float(np.square(audio, dtype=np.float64).sum()) == pytest.approx(expected["energy"])
    assert float(audio.sum(dtype=np.float64)) == pytest.approx(expected["sum"], abs=1e-2)
