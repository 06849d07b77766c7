"""Results of systems, tests made of them, and listeners who answer by a rule."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from desmezcla.listening.create import CreateOptions, create_test
from desmezcla.listening.design import (
    ANSWERS_FILE,
    AUDIO_FOLDER,
    Condition,
    Excerpt,
    ListeningTest,
    Song,
    Stimulus,
    read_design,
    write_design,
)
from desmezcla.listening.order import listener_order
from desmezcla.listening.steps import all_steps, is_mushra
from desmezcla.listening.store import ListenerState, NewAnswer, Store

RATE = 16_000
SONG_S = 5.0
STEMS = ("vocals", "drums")

Rate = Callable[[ListenerState, str, str, str, str], int]
"""Listener, song, stem, condition and scale to a rating."""


def write_songs(root: Path, noise: float, *, songs: tuple[str, ...] = ("one", "two")) -> Path:
    """Write stems of some songs, loudest in the middle, with noise as an error."""
    rng = np.random.default_rng(0)
    time_s = np.arange(round(SONG_S * RATE)) / RATE
    swell = np.sin(np.pi * time_s / SONG_S) ** 2
    for song, (number, stem) in itertools.product(songs, enumerate(STEMS)):
        (root / song).mkdir(parents=True, exist_ok=True)
        tone = 0.3 * swell * np.sin(2 * np.pi * 220 * (number + 1) * time_s)
        stereo = np.stack([tone, 0.5 * tone], axis=1)
        stereo += noise * swell[:, None] * rng.standard_normal(stereo.shape)
        soundfile.write(root / song / f"{stem}.wav", np.clip(stereo, -1, 1), RATE)
    return root


@pytest.fixture(scope="session")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with `true` stems, and results of `good` and `bad`."""
    root = tmp_path_factory.mktemp("results")
    for name, noise in (("true", 0.0), ("good", 0.02), ("bad", 0.2)):
        write_songs(root / name, noise)
    return root


@pytest.fixture(scope="session")
def finished_test(results: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a test of two systems, hidden reference and anchor, with MUSHRA pages."""
    folder = tmp_path_factory.mktemp("tests") / "stems"
    options = CreateOptions(
        {"good": results / "good", "bad": results / "bad"},
        reference=results / "true",
        anchor=True,
        excerpt_s=1.0,
        repeats=2,
        mushra=True,
        organiser="The laboratory",
    )
    create_test(folder, options)
    return folder


def plain_design(
    conditions: int = 3, songs: int = 2, stems: int = 2, *, repeats: int = 0, seed: int = 0
) -> ListeningTest:
    """Return a design without files; the last condition is the hidden reference."""
    names = [f"system{i}" for i in range(conditions - 1)]
    every = [*(Condition(name=name) for name in names)]
    every.append(Condition(name="reference", role="reference"))
    counter = itertools.count()
    excerpts = [
        Excerpt(
            song=f"song{song}",
            stem=f"stem{stem}",
            start_s=0,
            duration_s=8,
            level_lufs=-23,
            stimuli=tuple(
                Stimulus(file=f"{next(counter):024x}", condition=c.name, lufs=-20, gain_db=-3)
                for c in every
            ),
        )
        for song in range(songs)
        for stem in range(stems)
    ]
    return ListeningTest(
        name="plain",
        seed=seed,
        sample_rate=44100,
        conditions=tuple(every),
        songs=tuple(Song(name=f"song{i}") for i in range(songs)),
        excerpts=tuple(excerpts),
        repeats=repeats,
    )


def written(design: ListeningTest, folder: Path) -> Path:
    """Write a design with files that hold nothing."""
    (folder / AUDIO_FOLDER).mkdir(parents=True)
    for name in design.files():
        (folder / AUDIO_FOLDER / f"{name}.flac").touch()
    write_design(design, folder)
    assert read_design(folder) == design
    return folder


def answer_all(store: Store, design: ListeningTest, rate: Rate, *, stop_after: int = 10**6) -> str:
    """Let one listener answer everything by a rule, and return their link."""
    (id,) = store.add_listeners(1) or ()
    store.answer(id, NewAnswer("consent", "agree", "yes", 0, "c" * 16))
    store.begin(id, "en", lambda number: listener_order(design, number))
    state = store.listener(id)
    assert state is not None
    conditions = {s.file: s.condition for e in design.excerpts for s in e.stimuli}
    for place, step in enumerate(all_steps(design, state)[1:]):
        if place >= stop_after:
            break
        for number, (scale, choices) in enumerate(step.scales.items()):
            value = choices[(state.number or 0) % len(choices)]
            if step.item is not None:
                excerpt = design.excerpts[step.item.excerpt]
                of_mushra = is_mushra(step.item)
                condition = conditions[scale if of_mushra else step.item.files[0]]
                name = "mushra" if of_mushra else scale
                value = str(rate(state, excerpt.song, excerpt.stem, condition, name))
            change = f"{place:08x}{number:08x}"
            given = store.answer(id, NewAnswer(step.name, scale, value, 0, change, 8.0))
            assert given.accepted
    return id


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    """Give an empty store."""
    with Store(tmp_path / ANSWERS_FILE) as opened:
        yield opened
