import itertools

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from desmezcla.dsp.repetition import Neighbours, repeating_background, similar_frames


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed))


def test_the_neighbours_of_a_loop_are_its_repetitions() -> None:
    loop = noise(40, 10)
    magnitude = torch.cat([loop, loop, loop], dim=1) + 0.01 * noise(40, 30, seed=1)
    found = similar_frames(magnitude, min_similarity=0.95, min_distance_frames=5, max_frames=8)
    assert found.count.tolist() == [3] * 30
    for frame in range(30):
        assert found.index[frame, 0] == frame
        assert sorted(int(i) for i in found.index[frame]) == [frame % 10 + k for k in (0, 10, 20)]


def test_neighbours_keep_their_distance_and_number() -> None:
    found = similar_frames(noise(20, 600), min_similarity=0.0, min_distance_frames=12, max_frames=7)
    assert found.count.max() == 7
    for indices, count in zip(found.index.tolist(), found.count.tolist(), strict=True):
        others = sorted(indices[1:count])
        assert all(b - a >= 12 for a, b in itertools.pairwise(others))


def test_the_level_of_a_frame_does_not_matter_and_silence_has_no_neighbours() -> None:
    magnitude = noise(20, 50)
    levels = 10 ** torch.linspace(-25, 5, 50)
    levels[7] = 0
    options = {"min_distance_frames": 3, "max_frames": 9}
    plain = similar_frames(magnitude, min_similarity=0.5, **options)
    scaled = similar_frames(magnitude * levels, min_similarity=0.5, **options)
    assert scaled.count[7] == 1
    assert scaled.index[7, 0] == 7
    assert scaled.count[40] >= plain.count[40] - 1


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 6), min_size=6, max_size=12), seed=st.integers(0, 99))
def test_the_background_is_the_lower_median_of_the_neighbours(counts: list[int], seed: int) -> None:
    frames = len(counts)
    magnitude = noise(4, frames, seed=seed)
    index = torch.randint(frames, (frames, max(counts)), generator=torch.Generator())
    neighbours = Neighbours(index, torch.tensor(counts))
    found = repeating_background(magnitude, neighbours)
    for frame, count in enumerate(counts):
        values = np.sort(magnitude[:, index[frame, :count]].numpy(), axis=1)
        expected = np.minimum(values[:, (count - 1) // 2], magnitude[:, frame].numpy())
        np.testing.assert_array_equal(found[:, frame].numpy(), expected)
