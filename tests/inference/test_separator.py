import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import desmezcla
from desmezcla import ParameterError, ReleaseError, Separator
from desmezcla.audio.reader import read_audio
from desmezcla.inference import device
from desmezcla.models import build_model
from desmezcla.models.open_unmix import TINY
from desmezcla.releases.checkpoint import save_release, write_release_file
from desmezcla.releases.release import About, ReleaseFile

RATE = 44100
STEMS = ("vocals", "drums", "bass", "other")
AUDIO = np.random.default_rng(0).uniform(-0.5, 0.5, (2, 30_000)).astype(np.float32)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make a home folder with the releases `first` and `second`."""
    folder = tmp_path / "home"
    monkeypatch.setenv("DESMEZCLA_HOME", str(folder))
    monkeypatch.setenv("DESMEZCLA_OFFLINE", "1")
    for seed, name in enumerate(("first", "second")):
        torch.manual_seed(seed)
        model = build_model("open_unmix", **TINY | {"segment_s": 0.5})
        save_release(model, folder / "releases" / name, About(name=name, license="MIT"))
    return folder


def test_numpy_in_numpy_out(home: Path) -> None:
    stems = Separator("first").separate(AUDIO, RATE)
    assert tuple(stems) == STEMS
    for stem in stems.values():
        assert isinstance(stem, np.ndarray)
        assert stem.shape == AUDIO.shape
        assert stem.dtype == np.dtype(np.float32)


def test_torch_in_torch_out(home: Path) -> None:
    separator = Separator("first")
    stems = separator.separate(torch.from_numpy(AUDIO), RATE)
    expected = separator.separate(AUDIO, RATE)
    for name, stem in stems.items():
        assert isinstance(stem, torch.Tensor)
        np.testing.assert_array_equal(stem.numpy(), expected[name])


def test_the_input_is_left_alone(home: Path) -> None:
    before = AUDIO.copy()
    Separator("first", shifts=2).separate(AUDIO, RATE)
    np.testing.assert_array_equal(AUDIO, before)


def test_a_file_gives_the_stems_of_its_samples(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, AUDIO.T, RATE, subtype="FLOAT")
    separator = Separator("first")
    expected = separator.separate(AUDIO, RATE)
    blocks = np.concatenate(list(separator.stream_file(path)), axis=-1)
    result = separator.separate_file(path, tmp_path / "out")
    for index, stem in enumerate(STEMS):
        np.testing.assert_array_equal(blocks[index], expected[stem])
        np.testing.assert_array_equal(read_audio(result.paths[stem])[0], expected[stem])
    part = np.concatenate(list(separator.stream_file(path, start_s=0.1, duration_s=0.2)), axis=-1)
    assert part.shape == (4, 2, round(0.2 * RATE))


def test_progress_ends_at_one_and_can_end_the_work(home: Path, tmp_path: Path) -> None:
    path = tmp_path / "song.wav"
    soundfile.write(path, AUDIO.T, RATE)
    seen: list[float] = []
    separator = Separator("first")
    separator.separate_file(path, tmp_path / "out", progress=lambda p: seen.append(p.fraction))
    assert seen == sorted(seen)
    assert seen[-1] == 1.0

    def stop(progress: Any) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        separator.separate_file(path, tmp_path / "stopped", progress=stop)
    assert not [p for p in (tmp_path / "stopped").rglob("*") if p.is_file()]


def test_a_bag_of_releases_is_weighed_by_stem(home: Path) -> None:
    bag = home / "releases" / "bag"
    bag.mkdir()
    info = ReleaseFile.model_validate(
        {
            "name": "bag",
            "stems": ["vocals", "drums"],
            "sample_rate": RATE,
            "channels": 2,
            "members": [
                {"release": "first", "weights": {"vocals": 3.0}},
                {"release": "second", "weights": {"vocals": 1.0, "drums": 2.0}},
            ],
        }
    )
    write_release_file(bag, info)
    together = Separator("bag").separate(AUDIO, RATE)
    first, second = (Separator(name).separate(AUDIO, RATE) for name in ("first", "second"))
    assert tuple(together) == ("vocals", "drums")
    vocals = 0.75 * first["vocals"] + 0.25 * second["vocals"]
    np.testing.assert_allclose(together["vocals"], vocals, atol=1e-6)
    np.testing.assert_allclose(together["drums"], second["drums"], atol=1e-6)


def test_a_model_can_be_used_without_a_release(home: Path) -> None:
    model = build_model("open_unmix", **TINY)
    assert Separator(model).stems == STEMS


def test_the_default_is_there_without_any_download(home: Path) -> None:
    separator = Separator()
    assert separator.stems == STEMS
    assert separator.sample_rate == RATE
    stems = separator.separate(AUDIO, RATE)
    np.testing.assert_allclose(sum(stems.values()), AUDIO, atol=1e-5)


@pytest.mark.parametrize(
    ("audio", "rate", "message"),
    [
        (np.zeros(100, np.float32), RATE, r"\(100,\)"),
        (np.zeros((100, 2), np.float32), RATE, r"\(100, 2\)"),
        (np.zeros((9, 100), np.float32), RATE, r"\(9, 100\)"),
        (np.zeros((2, 0), np.float32), RATE, r"\(2, 0\)"),
        (np.zeros((2, 10), np.int16), RATE, "int16"),
        (np.full((2, 10), np.nan, np.float32), RATE, "NaN"),
        (np.full((2, 10), np.inf), RATE, "infinite"),
        (np.zeros((2, 10), np.float32), 0, "sample_rate=0"),
    ],
)
def test_bad_audio_is_refused(home: Path, audio: Any, rate: int, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        Separator("first").separate(audio, rate)


def test_an_unknown_release_is_refused_with_a_hint(home: Path) -> None:
    with pytest.raises(ReleaseError, match="frist"):
        Separator("frist")


def test_bfloat16_is_near_or_refused(home: Path) -> None:
    model = build_model("open_unmix", **TINY | {"hidden_size": 64})
    try:
        low = Separator(model, precision="bfloat16").separate(AUDIO, RATE)
    except ParameterError as error:
        assert "not supported" in str(error)  # noqa: PT017 - which of both depends on the machine
        return
    exact = Separator(model, precision="float32").separate(AUDIO, RATE)
    for stem in STEMS:
        error_power = np.mean((low[stem] - exact[stem]) ** 2)
        assert 0 < error_power < 1e-3 * np.mean(exact[stem] ** 2)


def test_a_device_that_is_not_there_is_refused() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    with pytest.raises(ParameterError, match="device='cuda' is not available"):
        device.choose_device("cuda")


def test_keeping_buffers_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DESMEZCLA_KEEP_BUFFERS", "0")
    assert not device.keep_freed_buffers()
    monkeypatch.delenv("DESMEZCLA_KEEP_BUFFERS")
    monkeypatch.setattr(sys, "platform", "darwin")
    assert not device.keep_freed_buffers()


def test_the_public_names_are_there() -> None:
    for name in desmezcla.__all__:
        assert getattr(desmezcla, name) is not None
    assert set(desmezcla.__all__) <= set(dir(desmezcla))
    with pytest.raises(AttributeError, match="nothing"):
        _ = desmezcla.nothing
