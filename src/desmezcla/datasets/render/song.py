"""A whole song with known stems: composed, played, sung and mixed from a seed."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from desmezcla.datasets.render.composer import STYLES, MidiLibrary, compose
from desmezcla.datasets.render.composer.composer import LONGEST_S, SHORTEST_S
from desmezcla.datasets.render.instruments import play
from desmezcla.datasets.render.material import Material
from desmezcla.datasets.render.mixing import mix
from desmezcla.datasets.render.score import Part, Song, Stem
from desmezcla.datasets.render.seeds import generator
from desmezcla.datasets.render.singing import sing
from desmezcla.datasets.render.sources import HeardMaterial
from desmezcla.errors import ParameterError

LOWEST_RATE_HZ = 16000


@dataclass(frozen=True)
class RenderedSong:
    """A song and its sound.

    Attributes:
        song: What is played.
        stems: Vocals, drums, bass and other, each `[2, T]` float32; they add up to the mixture,
            and none of them, nor the mixture, goes beyond full scale.
        seed: Its number.
        sample_rate: In Hz.
        sources: Collections of the material that were heard, by name.
    """

    song: Song
    stems: dict[Stem, NDArray[np.float32]]
    seed: int
    sample_rate: int
    sources: tuple[str, ...]

    @property
    def mixture(self) -> NDArray[np.float32]:
        """The sum of the stems. Shape: `[2, T]`."""
        return np.asarray(np.sum(list(self.stems.values()), axis=0), np.float32)


def render_song(
    *,
    seed: int,
    style: str | None = None,
    duration_s: float | None = None,
    material: Material | None = None,
    midi: MidiLibrary | None = None,
    sample_rate: int = 44100,
    cache_dir: Path | None = None,
) -> RenderedSong:
    """Render a song; the same arguments give the same samples.

    The composer, each player, the singers and each channel of the desk have a generator of their
    own, so that a change to one leaves the others as they were.

    Args:
        seed: Number of the song, from 0.
        style: Key of a style of the composer; None to let the seed choose.
        duration_s: About how long it is; None for a whole song.
        material: Recorded sounds and voices; None to synthesise everything.
        midi: Recorded grooves, tunes and progressions; None to write everything.
        sample_rate: In Hz, from 16000.
        cache_dir: Folder in which the analysis of recorded voices is kept between processes.

    Errors:
        ParameterError: if an argument is out of range.
        DatasetError: if a file of the material cannot be read.
    """
    check_song_options(seed=seed, style=style, duration_s=duration_s, sample_rate=sample_rate)
    song = compose(generator(seed, "compose"), style=style, duration_s=duration_s, midi=midi)
    samples = round(song.duration_s * sample_rate)
    heard = HeardMaterial(material) if material is not None else None
    voices = sing(
        song,
        rng=generator(seed, "sing"),
        material=heard,
        sample_rate=sample_rate,
        samples=samples,
        cache_dir=cache_dir,
    )

    def take(part: Part) -> NDArray[np.float32]:
        if part.stem == "vocals":
            return voices.pop(part.name)
        return play(
            part,
            song,
            rng=generator(seed, "play", part.name),
            material=heard,
            sample_rate=sample_rate,
            samples=samples,
        )

    stems = mix(song, take, seed=seed, sample_rate=sample_rate, samples=samples)
    sources = tuple(sorted(heard.sources)) if heard else ()
    return RenderedSong(song, stems, seed, sample_rate, sources)


def check_song_options(
    *, seed: int, style: str | None, duration_s: float | None, sample_rate: int
) -> None:
    """Refuse what `render_song` cannot do.

    Errors:
        ParameterError: if an argument is out of range.
    """
    if seed < 0:
        raise ParameterError(f"seed={seed} must be 0 or more")
    if sample_rate < LOWEST_RATE_HZ:
        raise ParameterError(f"sample_rate={sample_rate} Hz must be at least {LOWEST_RATE_HZ}")
    if style is not None and style not in STYLES:
        raise ParameterError(f"style={style!r} must be one of {', '.join(STYLES)}")
    if duration_s is not None and not SHORTEST_S <= duration_s <= LONGEST_S:
        raise ParameterError(
            f"duration_s={duration_s} must lie between {SHORTEST_S} and {LONGEST_S}"
        )
