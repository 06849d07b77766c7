"""Independent generators: one for each player and each decision of a song.

What one draws leaves all others as they were, so a change to one player, or a new one, does not
change the rest of the song.
"""

import hashlib

import numpy as np


def generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator of a thing in a song, such as `generator(7, "play", "lead_guitar")`.

    Args:
        seed: Of the song, from 0.
        names: What it is for.
    """
    digest = hashlib.sha256("\0".join(names).encode()).digest()
    key = tuple(int.from_bytes(digest[at : at + 4], "little") for at in (0, 4, 8, 12))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


def song_seed(seed: int, index: int) -> int:
    """Return the seed of a song of a dataset."""
    return int(np.random.SeedSequence([seed, index]).generate_state(1, np.uint64)[0] >> 1)
