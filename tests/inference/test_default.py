"""The releases of the package, as users run them: what `default` and `realtime` make of a song."""

from collections.abc import Iterator

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from desmezcla import Separator, StreamSeparator
from desmezcla.audio.resample import resample
from desmezcla.datasets.render.song import render_song
from desmezcla.dsp.threads import with_threads
from desmezcla.inference.runner import EngineName
from desmezcla.releases.store import BUNDLED
from desmezcla.training.validation import sdr

RATE = 44100
NAMES = ("default", "realtime")
Audio = NDArray[np.float32]
Stems = dict[str, Audio]


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    with with_threads(1):
        yield


@pytest.fixture(scope="module")
def song() -> Stems:
    """Return a song that is synthesised as a whole, of a seed that was not trained on."""
    rendered = render_song(seed=20260, style="pop", duration_s=10.0)
    return {str(stem): audio for stem, audio in rendered.stems.items()}


@pytest.fixture(scope="module")
def mixture(song: Stems) -> Audio:
    mixed: Audio = np.sum(list(song.values()), axis=0, dtype=np.float32)
    return mixed


def mean_sdr(truth: Stems, estimates: Stems) -> float:
    return float(np.mean([sdr(truth[stem], estimates[stem]) for stem in truth]))


def test_the_weights_of_the_package_are_small() -> None:
    sizes = {path: path.stat().st_size for path in BUNDLED.rglob("*") if path.is_file()}
    assert {path.parent.name for path in sizes} == {"baseline", *NAMES}
    assert sum(sizes.values()) < 20e6


@pytest.mark.parametrize("name", NAMES)
def test_it_separates_better_than_signal_processing_alone(
    name: str, song: Stems, mixture: Audio
) -> None:
    found, least = (
        mean_sdr(song, Separator(system).separate(mixture, RATE)) for system in (name, "baseline")
    )
    assert found > least + 1
    assert found > 4


def test_the_model_file_of_the_package_gives_the_same_without_torch(mixture: Audio) -> None:
    separator = Separator("default", engine="onnx")  # refuses a file of other weights
    expected = Separator("default", engine="torch").separate(mixture, RATE)
    for stem, audio in separator.separate(mixture, RATE).items():
        error = np.square(expected[stem] - audio).sum()
        assert 10 * np.log10(np.square(expected[stem]).sum() / error) > 50


@pytest.mark.parametrize("name", NAMES)
def test_the_stems_add_up_to_the_mixture(name: str, mixture: Audio) -> None:
    stems = Separator(name).separate(mixture[:, : 4 * RATE], RATE)
    rest = mixture[:, : 4 * RATE] - np.sum(list(stems.values()), axis=0)
    assert np.abs(rest).max() < 1e-4 * np.abs(mixture).max()  # -80 dB


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rate", [8000, 44100, 48000])
def test_silence_stays_silent(name: str, rate: int) -> None:
    stems = Separator(name).separate(np.zeros((2, rate), np.float32), rate)
    assert all(audio.shape == (2, rate) and not audio.any() for audio in stems.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("channels", "rate"), [(1, RATE), (2, 8000), (1, 8000)])
def test_mono_and_telephone_quality_are_separated_too(
    name: str, channels: int, rate: int, song: Stems
) -> None:
    truth = {
        stem: resample(audio if channels == 2 else audio.mean(0, keepdims=True), RATE, rate)
        for stem, audio in song.items()
    }
    heard: Audio = np.sum(list(truth.values()), axis=0, dtype=np.float32)
    found, least = (Separator(system).separate(heard, rate) for system in (name, "baseline"))
    assert all(audio.shape == heard.shape for audio in found.values())
    assert mean_sdr(truth, found) > mean_sdr(truth, least) + 1
    assert all(sdr(truth[stem], found[stem]) > sdr(truth[stem], heard) + 3 for stem in truth)


def test_exact_sums_are_exact_in_files(
    mixture: Audio, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("sum")
    soundfile.write(folder / "song.wav", mixture[:, : 3 * RATE].T, RATE, subtype="PCM_16")
    result = Separator("default").separate_file(folder / "song.wav", folder, exact_sum=True)
    heard = soundfile.read(folder / "song.wav")[0]
    total = np.sum([soundfile.read(path)[0] for path in result.paths.values()], axis=0)
    assert np.abs(total - heard).max() < 1e-3 * np.abs(heard).max()  # -60 dB


def test_realtime_on_a_stream_is_what_it_is_offline(mixture: Audio) -> None:
    heard = mixture[:, : 3 * RATE]
    live = StreamSeparator("realtime")
    blocks = [live.process(block) for block in np.array_split(heard, 200, axis=1)]
    streamed = np.concatenate([*blocks, live.flush()], axis=-1)
    offline = Separator("realtime", segment="track").separate(heard, RATE)
    assert live.latency_samples == 1023
    np.testing.assert_allclose(streamed, np.stack(list(offline.values())), atol=1e-5)


def test_the_onnx_file_of_realtime_gives_the_same(mixture: Audio) -> None:
    heard = mixture[:, : 2 * RATE]
    engines: tuple[EngineName, ...] = ("torch", "onnx")
    outputs = []
    for engine in engines:
        live = StreamSeparator("realtime", engine=engine)
        assert live.engine == engine
        outputs.append(np.concatenate([live.process(heard), live.flush()], axis=-1))
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
