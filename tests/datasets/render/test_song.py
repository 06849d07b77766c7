"""A rendered song: composed, played, sung and mixed for real, but short and at a low rate."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.datasets.render import song as rendering
from desmezcla.datasets.render.material import Material, Sample
from desmezcla.datasets.render.sources import HeardMaterial, is_excluded, open_material
from desmezcla.errors import ParameterError

SHORT: dict[str, Any] = {"duration_s": 4.0, "sample_rate": 16000}


@pytest.fixture(scope="module")
def song() -> rendering.RenderedSong:
    return rendering.render_song(seed=3, style="pop", **SHORT)


def test_a_song_has_four_stems_of_its_length(song: rendering.RenderedSong) -> None:
    assert tuple(song.stems) == ("vocals", "drums", "bass", "other")
    samples = round(song.song.duration_s * 16000)
    for audio in song.stems.values():
        assert audio.shape == (2, samples)
        assert audio.dtype == np.float32
        assert np.isfinite(audio).all()
    assert song.song.style == "pop"
    assert song.sources == ()


def test_the_mixture_is_the_sum_and_sounds(song: rendering.RenderedSong) -> None:
    np.testing.assert_allclose(song.mixture, sum(song.stems.values()), atol=1e-6)
    assert 0.05 < np.abs(song.mixture).max() < 1


def test_the_same_seed_gives_the_same_samples(song: rendering.RenderedSong) -> None:
    again = rendering.render_song(seed=3, style="pop", **SHORT)
    assert again.song == song.song
    for stem, audio in song.stems.items():
        np.testing.assert_array_equal(again.stems[stem], audio)


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"seed": -1}, "seed=-1"),
        ({"style": "polka-core"}, "style='polka-core'"),
        ({"duration_s": 0.5}, "duration_s=0.5"),
        ({"sample_rate": 100}, "sample_rate=100"),
    ],
)
def test_a_wrong_option_is_named(wrong: dict[str, Any], named: str) -> None:
    with pytest.raises(ParameterError, match=named):
        rendering.render_song(**({"seed": 0} | SHORT | wrong))


ROWS = [
    ("drums/a.wav", "Kit", "CC0", "Ann"),
    ("voices/b.wav", "Choir", "GNU GPL V3+", "Ben"),
    ("voices/c.wav", "Choir", "CC BY 4.0", "Cid"),
]


@pytest.fixture
def material(tmp_path: Path) -> Path:
    lines = ["file\tsource\tlicence\tauthor\tseconds\tmidi\tf0\trms_db"]
    for file, *facts in ROWS:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        soundfile.write(tmp_path / file, np.full(1600, 0.1), 16000)
        lines.append("\t".join((file, *facts, "0.1", "", "", "-20")))
    (tmp_path / "index.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return tmp_path


def test_sounds_under_a_licence_can_be_left_out(material: Path) -> None:
    whole = open_material(material)
    assert [sample.file for sample in whole.samples] == [row[0] for row in ROWS]
    left = open_material(material, exclude_licences=["gpl"])
    assert [sample.licence for sample in left.samples] == ["CC0", "CC BY 4.0"]
    assert left.digest != whole.digest
    assert open_material(material, exclude_licences=["MIT"]).digest == whole.digest


def test_files_can_be_left_out_by_patterns(material: Path) -> None:
    whole = open_material(material)
    left = open_material(material, exclude_files=["voices/[b]*", "drums/*"])
    assert [sample.file for sample in left.samples] == ["voices/c.wav"]
    assert left.digest != whole.digest
    with pytest.raises(ParameterError, match=r"exclude_files='voice/\*' fits no file"):
        open_material(material, exclude_files=["voices/b.wav", "voice/*"])


def test_what_is_heard_is_noted(material: Path) -> None:
    heard = HeardMaterial(Material(material))
    assert heard.sources == set()
    choir: Sample = heard.select("voices/")[0]
    assert heard.audio(choir, 16000).shape[0] == 1
    assert heard.sources == {"Choir"}


def test_the_name_of_a_licence_may_be_written_in_many_ways() -> None:
    assert is_excluded("CC-BY (3.0)", ["CC BY"])
    assert is_excluded("GPL-2+ with exception", ["gpl 2"])
    assert not is_excluded("CC0", ["CC-BY"])
    assert not is_excluded("CC0", [])
