"""Which stems are scored against each other: those that add up to the song, and each sum apart.

A sum of stems ("accompaniment", "no_drums") must not stand beside its parts: all of it would count
as interference of them. It is scored in a scenario of its own, with the stem that it leaves out.
"""

from typing import NamedTuple

from desmezcla.datasets.reading import component_stems, left_out_stem


class Scenario(NamedTuple):
    """Stems that are scored together.

    Attributes:
        stems: All of them.
        taken: Those whose scores count; the others have theirs from another scenario.
    """

    stems: tuple[str, ...]
    taken: tuple[str, ...]


def scenarios(stems: tuple[str, ...]) -> list[Scenario]:
    """Group stems into scenarios, in which every stem is taken once.

    The scores of a stem do not change where an estimate of a sum is added. (In museval, those of
    the vocals then are the ones beside the accompaniment.)

    >>> scenarios(("vocals", "drums", "accompaniment"))[1]
    Scenario(stems=('vocals', 'accompaniment'), taken=('accompaniment',))
    >>> len(scenarios(("vocals", "accompaniment")))
    1
    """
    together = component_stems(stems)
    found = [Scenario(together, together)] if together else []
    for stem in stems:
        if stem not in together:
            rest = left_out_stem(stem)
            pair = (rest, stem) if rest in stems and rest is not None else (stem,)
            found.append(Scenario(pair, (stem,)))
    return found


def not_covered(stems: tuple[str, ...], of_track: tuple[str, ...]) -> tuple[str, ...]:
    """Return those parts of a song that stand in no stem, alone or as part of a sum.

    >>> not_covered(("vocals",), ("vocals", "drums")), not_covered(("no_bass",), ("bass", "drums"))
    (('drums',), ('bass',))
    """
    sums = [rest for stem in stems if (rest := left_out_stem(stem)) is not None]
    return tuple(
        part
        for part in component_stems(of_track)
        if part not in stems and all(rest == part for rest in sums)
    )
