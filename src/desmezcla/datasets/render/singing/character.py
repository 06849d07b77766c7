"""What makes a singer: from one recorded voice, many."""

from dataclasses import dataclass, replace

import numpy as np


@dataclass(frozen=True)
class Character:
    """How a singer differs from the voice that was recorded, and how they sing.

    Attributes:
        formant: Factor of all formant frequencies: below 1 for a longer vocal tract.
        bright: Gain of the upper spectrum added to the voice; negative is dull.
        breath: Level of the aspiration that goes with the voice.
        rough: Depth of the subharmonic of growls, from 0 to 1.
        scream: How far the periods are scattered, as part of a period.
        jitter: Natural scatter of the periods, as part of a period.
        vibrato_hz: Rate of the vibrato.
        vibrato: Its depth in semitones (half of its extent).
        vibrato_delay_s: How long a note is held before it begins.
        glide_s: Time from note to note.
        scoop: How far below a note the voice starts, in semitones.
        drift: Standard deviation of the pitch around the note, in semitones.
        consonants: How long consonants are, as a factor of the recorded ones.
        late_s: How far behind (or before) the beat the singer is.
        inhale: Level of the breaths between phrases.
        dynamics: How much of the velocity is heard, from 0 to 1.
        whispers: The voice has no pitch.
    """

    formant: float
    bright: float
    breath: float
    rough: float
    scream: float
    jitter: float
    vibrato_hz: float
    vibrato: float
    vibrato_delay_s: float
    glide_s: float
    scoop: float
    drift: float
    consonants: float
    late_s: float
    inhale: float
    dynamics: float
    whispers: bool

    def beside(self, rng: np.random.Generator, *, loose: float) -> "Character":
        """Return the same singer once more, as in a double: a little different.

        Args:
            rng: Where the differences come from.
            loose: 1 for the same singer, more for another member of the choir.
        """
        return replace(
            self,
            formant=self.formant * (1 + 0.01 * loose * rng.normal()),
            vibrato_hz=self.vibrato_hz * (1 + 0.05 * rng.normal()),
            vibrato=self.vibrato * rng.uniform(0.5, 1.0),
            drift=self.drift * (0.9 + 0.2 * loose),
            late_s=self.late_s + 0.012 * loose * rng.normal(),
            inhale=0.3 * self.inhale,
        )


def draw_character(rng: np.random.Generator, *, style: str) -> Character:
    """Draw a singer for a song of a style (words such as "metal" and "rap" are looked for)."""
    heavy = any(word in style.lower() for word in ("metal", "hardcore", "punk"))
    rock = heavy or any(word in style.lower() for word in ("rock", "grunge", "blues"))
    soft = any(word in style.lower() for word in ("folk", "singer", "jazz", "country"))
    tuned = rng.random() < (0.1 if rock or soft else 0.7 if style == "trap" else 0.35)
    screams = rng.random() < (0.4 if heavy else 0.06 if rock else 0.01)
    growls = screams or rng.random() < (0.5 if rock else 0.12)
    airy = rng.random() < (0.4 if soft else 0.2)
    return Character(
        formant=float(np.clip(np.exp(rng.normal(0, 0.07)), 0.85, 1.16)),
        bright=float(rng.uniform(-0.5, 0.35) + (0.4 if rock else 0.0)),
        breath=float(rng.uniform(0.08, 0.35)) if airy or screams else float(rng.uniform(0.0, 0.06)),
        rough=float(rng.uniform(0.1, 0.35)) if growls else 0.0,
        scream=float(rng.uniform(0.04, 0.14)) if screams else 0.0,
        jitter=float(rng.uniform(0.002, 0.008)),
        vibrato_hz=float(rng.uniform(4.5, 7.0)),
        vibrato=float(rng.uniform(0.05, 0.25) if tuned else rng.uniform(0.1, 0.75)),
        vibrato_delay_s=float(rng.uniform(0.1, 0.5)),
        glide_s=float(rng.uniform(0.01, 0.02) if tuned else rng.uniform(0.04, 0.14)),
        scoop=float(rng.uniform(0, 0.3) if tuned else rng.uniform(0.2, 2.2)),
        drift=float(rng.uniform(0, 0.02) if tuned else rng.uniform(0.06, 0.16)),
        consonants=float(rng.uniform(0.75, 1.15)),
        late_s=float(rng.normal(0, 0.008)),
        inhale=float(rng.uniform(0.0, 0.2)),
        dynamics=float(rng.uniform(0.3, 0.9)),
        whispers=False,
    )
