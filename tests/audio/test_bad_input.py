import itertools
import logging
import os
import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from desmezcla.audio.reader import AudioReader, read_audio
from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.demo import render_song
from desmezcla.errors import AudioFileError

Make = Callable[..., Any]


@pytest.fixture
def wav(music: Make, tmp_path: Path) -> Path:
    path = tmp_path / "good.wav"
    soundfile.write(path, music(2, 44_100).T, 44100, subtype="PCM_16")
    return path


def refusal(path: str | os.PathLike[str]) -> str:
    with pytest.raises(AudioFileError) as refused:
        read_audio(path)
    return str(refused.value)


def test_missing_file(tmp_path: Path) -> None:
    assert "'nowhere.wav' does not exist; check the spelling" in refusal("nowhere.wav")


def test_folder(tmp_path: Path) -> None:
    assert "is a folder; give an audio file" in refusal(tmp_path)


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    assert "is empty (0 bytes)" in refusal(tmp_path / "a.mp3")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
def test_named_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert "is not a regular file" in refusal(tmp_path / "pipe")


def test_loop_of_links(tmp_path: Path) -> None:
    try:
        (tmp_path / "a.wav").symlink_to(tmp_path / "b.wav")
        (tmp_path / "b.wav").symlink_to(tmp_path / "a.wav")
    except OSError:
        pytest.skip("this system makes no links")
    assert "cannot be read" in refusal(tmp_path / "a.wav")


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="every file may be read here"
)
def test_file_that_may_not_be_read(wav: Path) -> None:
    wav.chmod(0)
    assert "may not be read; change its permissions" in refusal(wav)


@pytest.mark.parametrize("name", ["a\0b.wav", "x" * 5000 + ".wav"])
def test_impossible_names(name: str) -> None:
    assert "cannot be read" in refusal(name)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.flac", "a.m4a", "a.ogg", "a"])
@pytest.mark.parametrize("content", [b"just some words\n" * 300, b"\0" * 5000, b"\xff" * 5000])
def test_what_is_not_audio(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    message = refusal(tmp_path / name)
    assert "is not audio that can be read" in message or "0 samples" in message


def test_noise_is_not_audio(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(np.random.default_rng(0).bytes(20_000))
    assert "is not audio that can be read" in refusal(tmp_path / "a.mp3")


def test_picture(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(500))
    assert "is not audio that can be read" in refusal(tmp_path / "a.png")


def test_silent_film(music: Make, encode: Make, tmp_path: Path) -> None:
    import av

    with av.open(str(tmp_path / "film.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = 16, 16, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(16, 16, "yuv420p")))
        container.mux(stream.encode(None))
    assert "has no audio stream; give a file with sound" in refusal(tmp_path / "film.mp4")


def test_no_samples(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((0, 2)), 44100)
    assert "holds no audio that can be decoded (0 samples)" in refusal(tmp_path / "a.wav")


def test_one_sample_and_silence_are_audio(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((1, 2)), 44100)
    np.testing.assert_array_equal(read_audio(tmp_path / "a.wav")[0], np.zeros((2, 1)))


def test_unknown_codec(wav: Path) -> None:
    content = wav.read_bytes()
    wav.write_bytes(content[:20] + b"\xab\xcd" + content[22:])  # the format's tag
    assert "has a codec that cannot be decoded; convert it" in refusal(wav)


def test_more_than_eight_channels(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros((10, 9)), 44100)
    assert "has 9 channels, and at most 8 can be read" in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite(subtype: str, value: float, tmp_path: Path) -> None:
    audio = np.zeros((44_100, 2))
    audio[33_075, 1] = value
    soundfile.write(tmp_path / "a.wav", audio, 44100, subtype=subtype)
    assert "not a number or not finite at 0.750 s; export" in refusal(tmp_path / "a.wav")
    # What lies outside of the part that is read does not matter.
    assert read_audio(tmp_path / "a.wav", duration_s=0.7)[0].shape[1] == 30_870
    with pytest.raises(AudioFileError, match=r"at 0\.750 s"):
        read_audio(tmp_path / "a.wav", start_s=0.5)


def test_doubles_beyond_float32_are_not_finite(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.full((10, 1), 1e300), 44100, subtype="DOUBLE")
    assert "not finite at 0.000 s" in refusal(tmp_path / "a.wav")


@pytest.mark.parametrize("format", ["WAV", "WAVEX", "RF64", "AIFF", "FLAC", "MP3"])
def test_a_file_cut_short_is_read_as_far_as_it_goes_with_a_warning(
    format: str, music: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a"
    soundfile.write(path, music(2, 88_200).T, 44100, format=format)
    whole, _ = read_audio(path)
    assert not caplog.records
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    audio, _ = read_audio(path)
    assert 30_000 < audio.shape[1] < 60_000
    # The last frame before a cut can be damaged.
    np.testing.assert_array_equal(audio[:, :-5000], whole[:, : audio.shape[1] - 5000])
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    read_s = audio.shape[1] / 44100
    assert f"cut short or damaged: {read_s:.3f} s could be read, but it should" in warnings[-1]
    assert "should last 2.000 s" in warnings[-1]


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFFFFF])
def test_wave_files_from_a_pipe_have_no_length(
    size: int, wav: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content, field = wav.read_bytes(), struct.pack("<I", size)
    wav.write_bytes(content[:4] + field + content[8:40] + field + content[44:])
    assert read_audio(wav)[0].shape == (2, 44_100)
    assert not caplog.records


def test_damage_in_the_middle_is_left_out_with_one_warning(
    music: Make, encode: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = encode(tmp_path / "a.m4a", music(2, 441_000), muxer="ipod", codec="aac")
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(0).bytes(3000)
    path.write_bytes(content)
    assert 400_000 < read_audio(path)[0].shape[1] <= 441_000
    assert sum("damaged pieces" in record.getMessage() for record in caplog.records) == 1


def test_what_looks_like_a_frame_within_the_last_one_of_flac_is_no_damage(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    # The last frame of this song holds what FFmpeg's parser takes for the start of another.
    gains = {"vocals": 10**0.2, "drums": 10**-0.25}
    stems = render_song(seed=0, duration_s=6.0)
    song = np.sum([0.5 * gains.get(name, 1.0) * stem for name, stem in stems.items()], axis=0)
    path = tmp_path / "a.flac"
    with AudioWriter(path, sample_rate=44100, channels=2) as writer:
        writer.write(song)
    audio, _ = read_audio(path)
    np.testing.assert_array_equal(audio.T, soundfile.read(path, dtype="float32")[0])
    assert not caplog.records
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 20_000] = bytes(20_000)
    path.write_bytes(content)
    assert read_audio(path)[0].shape[1] < audio.shape[1]
    assert "damaged" in caplog.text


def test_junk_after_the_end_changes_nothing(music: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    soundfile.write(path, music(2, 50_000).T, 44100)
    whole, _ = read_audio(path)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125) + b"junk" * 100)
    np.testing.assert_array_equal(read_audio(path)[0], whole)


def test_a_change_of_rate_is_refused(music: Make, tmp_path: Path) -> None:
    for name, rate in (("1", 44100), ("2", 48000)):
        soundfile.write(tmp_path / name, music(2, 50_000).T, rate, format="MP3")
    joined = (tmp_path / "1").read_bytes() + (tmp_path / "2").read_bytes()
    (tmp_path / "a.mp3").write_bytes(joined)
    message = refusal(tmp_path / "a.mp3")
    assert "Hz and 2 channels to" in message
    assert "convert it to wav with one rate first" in message


@pytest.mark.parametrize(
    "name", ["http://127.0.0.1/a.wav", "https://x.org/a.m3u8", "pipe:0", "concat:good.wav", "-"]
)
def test_addresses_are_only_names(name: str, wav: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(wav.parent)
    assert "does not exist" in refusal(name)
    if "://" in name:
        assert "download it first" in refusal(name)


def playlists(address: str) -> dict[str, str]:
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{}\n#EXT-X-ENDLIST\n"
    return {
        "a.m3u8": hls.format(f"http://{address}/a.ts"),
        "b.m3u8": hls.format("good.wav"),
        "c.m3u": "good.wav\n",
        "d.wav": "ffconcat version 1.0\nfile 'good.wav'\n",
        "e.wav": f"ffconcat version 1.0\nfile 'http://{address}/a.wav'\n",
        "f.sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\n"
        "m=audio 5004 RTP/AVP 0\n",
        "g.mpd": '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT9S"><Period><AdaptationSet mimeType="audio/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>http://{address}/x</BaseURL>'
        "</Representation></AdaptationSet></Period></MPD>",
        "h.wav": f"http://{address}/a.wav",
    }


@pytest.mark.parametrize("name", list(playlists("")))
def test_playlists_open_neither_files_nor_the_network(
    name: str, wav: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(wav.parent)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        Path(name).write_text(playlists(f"127.0.0.1:{server.getsockname()[1]}")[name])
        assert "is not audio that can be read" in refusal(name)
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF", "FLAC", "MP3", "OGG", "M4A"])
def test_random_damage_ends_in_audio_or_a_clear_error_and_ffmpeg_is_silent(
    format: str,
    music: Make,
    encode: Make,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path, audio = tmp_path / "a", music(2, 20_000)
    if format == "M4A":
        encode(path, audio, muxer="ipod", codec="aac")
    else:
        soundfile.write(path, audio.T, 44100, format=format)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    results = {"read": 0, "refused": 0}
    for end in (300, len(content)):  # in the header only, or anywhere
        for _ in range(20):
            damaged = bytearray(content)
            for position in rng.integers(0, end, 10):
                damaged[position] = int(rng.integers(256))
            path.write_bytes(damaged)
            try:
                with AudioReader(path) as reader:
                    # A damaged header can claim hours of audio.
                    results["read"] += sum(1 for _ in itertools.islice(reader.blocks(), 5)) > 0
            except AudioFileError:
                results["refused"] += 1
    assert results["read"] + results["refused"] == 40
    # Each page of Ogg has a checksum, so that of so short a file nothing may be left.
    assert results["read"] > 0 or format == "OGG"
    assert capfd.readouterr() == ("", "")
