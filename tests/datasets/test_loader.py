import multiprocessing
import os
import pickle
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from numpy.typing import NDArray
from torch import Tensor

from desmezcla.datasets.loader import SegmentLoader
from desmezcla.datasets.segments import Segments
from desmezcla.datasets.track import Dataset, Source, Track
from desmezcla.errors import DatasetError, ParameterError

RATE = 8000
STEMS = ("vocals", "drums", "bass")
Audio = NDArray[np.float32]
Batch = tuple[Tensor, Tensor]

pytestmark = [
    # Python warns of forks beside threads, from 3.12; the workers use neither locks nor thread
    # pools of the parent process.
    pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"),
    # The machine of the tests may have one core.
    pytest.mark.filterwarnings("ignore:This DataLoader will create:UserWarning"),
]


class Gains:
    """Changes every example, and swaps a stem between the examples of a batch."""

    def example(self, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        changed = stems * rng.uniform(0.5, 1, (len(stems), 1, 1)).astype(np.float32)
        return changed.sum(axis=0), changed

    def batch(self, mixture: Audio, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        changed = stems.copy()
        changed[:, 0] = stems[rng.permutation(len(stems)), 0]
        return changed.sum(axis=1), changed


class Process:
    """Puts the process and its threads in the place of the mixture."""

    def example(self, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        mixture = np.zeros(stems.shape[1:], np.float32)
        mixture[:, 0], mixture[:, 1] = os.getpid() % 10000, torch.get_num_threads()
        return mixture, stems

    def batch(self, mixture: Audio, stems: Audio, rng: np.random.Generator) -> tuple[Audio, Audio]:
        return mixture, stems


@pytest.fixture
def dataset(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    rng = np.random.default_rng(0)
    tracks = []
    for number in range(3):
        sources = {}
        for stem in STEMS:
            kind = "ogg" if stem == "bass" else "wav"
            path = tmp_path / f"{number} {stem}.{kind}"
            soundfile.write(path, rng.normal(0, 0.1, (3000, 2)), RATE)
            sources[stem] = (Source(path),)
        tracks.append(Track(f"song {number}", sources))
    return Dataset("songs", tmp_path, tuple(tracks))


@pytest.fixture
def segments(dataset: Dataset) -> Segments:
    return made(dataset)


def made(dataset: Dataset, **options: Any) -> Segments:
    return Segments(
        dataset,
        stems=STEMS,
        sample_rate=RATE,
        channels=2,
        segment_samples=400,
        seed=5,
        random_mixing=0.5,
        **options,
    )


def batches(segments: Segments, **options: Any) -> list[Batch]:
    loader = SegmentLoader(segments, **({"batch_size": 4, "steps": 5} | options))
    found = list(loader)
    loader.close()
    return found


def assert_same(ours: list[Batch], theirs: list[Batch]) -> None:
    assert len(ours) == len(theirs)
    for one, other in zip(ours, theirs, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])


def test_a_step_holds_its_examples_and_their_sum(segments: Segments) -> None:
    for step, (mixture, stems) in enumerate(batches(segments)):
        assert mixture.shape == (4, 2, 400)
        assert stems.shape == (4, 3, 2, 400)
        for slot in range(4):
            example = segments.example(4 * step + slot)
            np.testing.assert_array_equal(stems[slot].numpy(), example)
            np.testing.assert_allclose(mixture[slot].numpy(), example.sum(axis=0), atol=1e-6)


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("augment", [None, Gains()])
def test_batches_are_the_same_for_any_number_of_workers(
    segments: Segments, workers: int, augment: Gains | None
) -> None:
    assert_same(
        batches(segments, augment=augment, workers=workers), batches(segments, augment=augment)
    )


def test_spawned_workers_make_the_same_batches(segments: Segments) -> None:
    there = batches(segments, workers=1, start_method="spawn", steps=2)
    assert_same(there, batches(segments, steps=2))


def test_workers_are_not_forked_off_a_process_that_ray_is_in(
    segments: Segments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", ModuleType("ray"))
    loader = iter(SegmentLoader(segments, batch_size=4, steps=2, workers=1))
    first = next(loader)
    kinds = {type(child) for child in multiprocessing.active_children()}
    assert multiprocessing.get_context("spawn").Process in kinds
    assert_same([first, *loader], batches(segments, steps=2))


@pytest.mark.parametrize("workers", [0, 2])
def test_a_run_that_starts_later_goes_on_as_the_whole_one(segments: Segments, workers: int) -> None:
    whole = batches(segments, augment=Gains())
    rest = batches(segments, augment=Gains(), workers=workers, first_step=2, steps=3)
    assert_same(rest, whole[2:])


def test_another_dataset_object_of_the_same_seed_gives_the_same(dataset: Dataset) -> None:
    assert_same(batches(made(dataset), augment=Gains()), batches(made(dataset), augment=Gains()))


@pytest.mark.parametrize("workers", [0, 2])
def test_first_step_can_be_set_from_one_iteration_to_the_next(
    segments: Segments, workers: int
) -> None:
    whole = batches(segments, steps=6)
    loader = SegmentLoader(segments, batch_size=4, steps=2, workers=workers)
    assert len(loader) == 2
    found: list[Batch] = []
    for first_step in (0, 2, 4):
        loader.first_step = first_step
        found += loader
    assert_same(found, whole)
    next(iter(loader))  # left in the middle
    assert_same(list(loader), whole[4:])
    loader.close()


def test_ranks_share_the_examples_of_a_step(segments: Segments) -> None:
    whole = batches(segments)
    shares = [batches(segments, rank=rank, world_size=2) for rank in range(2)]
    joined = [
        (torch.cat([a[0], b[0]]), torch.cat([a[1], b[1]])) for a, b in zip(*shares, strict=True)
    ]
    assert_same(joined, whole)


def test_an_augmentation_changes_examples_and_batches(segments: Segments) -> None:
    plain, changed = batches(segments), batches(segments, augment=Gains())
    for (_, before), (mixture, after) in zip(plain, changed, strict=True):
        torch.testing.assert_close(mixture, after.sum(dim=1))
        gains = (after[:, 1:].abs().sum((2, 3)) / before[:, 1:].abs().sum((2, 3))).flatten()
        assert ((gains > 0.49) & (gains < 1.01)).all()
        assert len(set(gains.tolist())) == len(gains)


def test_workers_are_processes_with_one_thread(segments: Segments) -> None:
    found = batches(segments, augment=Process(), workers=2)
    processes = {int(mixture[0, 0, 0]) for mixture, _ in found}
    assert len(processes) == 2
    assert os.getpid() % 10000 not in processes
    assert {int(mixture[0, 0, 1]) for mixture, _ in found} == {1}


@pytest.mark.parametrize("workers", [0, 2])
def test_memory_is_used_again_but_never_while_a_part_of_it_is_held(
    segments: Segments, workers: int
) -> None:
    whole = batches(segments, steps=40)
    loader = SegmentLoader(segments, batch_size=4, steps=40, workers=workers)
    next(iter(loader))  # left in the middle: its memory comes back, too
    places = set()
    for step, (mixture, stems) in enumerate(loader):
        places.add(mixture.data_ptr())
        if step == 7:
            held = stems[1, 2]
        assert torch.equal(stems, whole[step][1])
    assert torch.equal(held, whole[7][1][1, 2])
    assert len(places) <= 3 + 2 * workers
    loader.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_global_random_numbers_are_left_alone(segments: Segments, workers: int) -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    state = pickle.dumps(np.random.get_state())  # noqa: NPY002
    batches(segments, augment=Gains(), workers=workers, steps=2)
    assert torch.equal(torch.get_rng_state(), before)
    assert pickle.dumps(np.random.get_state()) == state  # noqa: NPY002


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_ends_the_iteration_with_its_name(
    segments: Segments, dataset: Dataset, workers: int
) -> None:
    (dataset.root / "1 drums.wav").unlink()
    with pytest.raises(DatasetError, match=r"1 drums\.wav' cannot be read") as caught:
        batches(segments, workers=workers)
    assert "Traceback" not in str(caught.value)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_file_that_is_skipped_is_told_once(
    dataset: Dataset, workers: int, caplog: pytest.LogCaptureFixture
) -> None:
    lenient = made(dataset, skip_bad=True)
    (dataset.root / "1 drums.wav").unlink()
    found = batches(lenient, workers=workers)
    assert len(found) == 5
    (record,) = caplog.records
    assert "1 drums.wav" in record.message


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"steps": -1}, "steps=-1"),
        ({"workers": -1}, "workers=-1"),
        ({"rank": 2, "world_size": 2}, "rank=2"),
        ({"batch_size": 3, "world_size": 2}, "multiple of the 2 ranks"),
    ],
)
def test_wrong_arguments_are_refused(
    segments: Segments, options: dict[str, int], named: str
) -> None:
    with pytest.raises(ParameterError, match=named):
        batches(segments, **options)
