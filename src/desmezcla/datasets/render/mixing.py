"""Mixing: parts through their strips, into shared spaces, balanced to stems, and mastered.

Every step that is not linear stays within one stem, or is a gain that all stems share: so the
stems add up to the mixture, as loud and as squashed as it may be.
"""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from desmezcla.datasets.render.effects import dynamics
from desmezcla.datasets.render.effects.convolution import Audio, convolve, import_scipy
from desmezcla.datasets.render.effects.delay import echo_response
from desmezcla.datasets.render.effects.eq import Band, equalise
from desmezcla.datasets.render.effects.reverb import impulse_response
from desmezcla.datasets.render.mixing_loudness import SILENCE_LUFS, loudness_lufs
from desmezcla.datasets.render.mixing_master import Stems, master, tone
from desmezcla.datasets.render.mixing_plan import STEMS, Plan, choose_plan
from desmezcla.datasets.render.mixing_strips import Strip, choose_strip, through_strip
from desmezcla.datasets.render.score import Hit, Part, Song
from desmezcla.datasets.render.seeds import generator

Take = Callable[[Part], Audio]

# Sends that are softer than this are not heard, and not computed.
_SILENT_SEND_DB = -38.0
# Loudness of the leading part of a stem before the stems are balanced.
_REFERENCE_LUFS = -20.0
# How long a fader takes from one section to the next.
_FADER_S = 0.15


def mix(song: Song, take: Take, *, seed: int, sample_rate: int, samples: int) -> Stems:
    """Mix a song.

    Args:
        song: What is played.
        take: Gives what a part plays, dry, `[1 or 2, T]`; called once for each part, stem by stem.
        seed: Of the decisions; each part has its own generator.
        sample_rate: In Hz.
        samples: Length T.

    Shape:
        Returns vocals, drums, bass and other, each `[2, T]`; a stem without parts is silent.
    """
    plan = choose_plan(song, generator(seed, "mix"))
    responses = _responses(plan, sample_rate)
    curves = _Curves(song, sample_rate, samples)
    stems: Stems = {}
    for stem in STEMS:
        parts = [part for part in song.parts if part.stem == stem]
        strips = {
            part.name: choose_strip(part, side, plan, generator(seed, "strip", part.name))
            for part, side in zip(parts, _sides(parts), strict=True)
        }
        audio = tone(_stem(parts, strips, take, responses, curves), plan, sample_rate)
        stems[stem] = _balanced(audio, plan.balance_lu[stem], sample_rate)
    return master(stems, plan, sample_rate)


class _Curves:
    """Gains of a song over time, at the borders of the hops."""

    def __init__(self, song: Song, sample_rate: int, samples: int) -> None:
        self.sample_rate = sample_rate
        self.samples = samples
        self.time_s = np.arange(-(-samples // dynamics.HOP) + 1) * dynamics.HOP / sample_rate
        self._energy = self._of_sections(song)
        self._pumping = self._of_kicks(song)

    def automation(self, strip: Strip) -> dynamics.Curve:
        """Return what the faders and the kick do to a part."""
        return dynamics.from_db(strip.energy_db * self._energy - strip.duck_db * self._pumping)

    def _of_sections(self, song: Song) -> dynamics.Curve:
        """Return the energy over time, from -1 to 0 relative to the fullest section."""
        starts = np.array([section.start_s for section in song.sections])
        energy = np.array([section.energy for section in song.sections])
        index = np.clip(np.searchsorted(starts, self.time_s, "right") - 1, 0, None)
        width = max(1, round(_FADER_S * self.sample_rate / dynamics.HOP))
        smooth = import_scipy("ndimage").uniform_filter1d(energy[index], width, mode="nearest")
        return np.asarray(smooth - energy.max())

    def _of_kicks(self, song: Song) -> dynamics.Curve:
        """Return how far the kick pushes down, from 0 to 1: at once, and back within a beat."""
        kicks = sorted(
            event.start_s
            for part in song.parts
            for event in part.events
            if isinstance(event, Hit) and event.piece == "kick"
        )
        if not kicks:
            return np.zeros(len(self.time_s))
        # The gain falls shortly before the kick, as with a compressor that looks ahead.
        starts = np.array(kicks) - 0.005
        last = np.searchsorted(starts, self.time_s, "right") - 1
        since_s = np.where(last >= 0, self.time_s - starts[last], np.inf)
        phase = np.clip(since_s / (0.7 * 60 / song.tempo_bpm), 0, 1)
        return np.asarray(0.5 + 0.5 * np.cos(np.pi * phase))


def _stem(
    parts: Sequence[Part],
    strips: Mapping[str, Strip],
    take: Take,
    responses: Mapping[str, Audio],
    curves: _Curves,
) -> Audio:
    """Return the sum of parts, with what comes back from the spaces."""
    bus = np.zeros((2, curves.samples), np.float32)
    sends = {name: np.zeros_like(bus) for name in responses}
    for part in parts:
        strip = strips[part.name]
        audio = take(part)
        if not audio.any():
            continue
        audio = through_strip(audio, strip, curves.sample_rate, automation=curves.automation(strip))
        audio = _balanced(audio, _REFERENCE_LUFS + strip.level_lu, curves.sample_rate)
        bus += audio
        for name, send_db in strip.sends_db.items():
            if send_db > _SILENT_SEND_DB:
                sends[name] += audio * np.float32(10 ** (send_db / 20))
    for name, response in responses.items():
        bus += convolve(sends.pop(name), response)
    return bus


def _responses(plan: Plan, sample_rate: int) -> dict[str, Audio]:
    """Return the impulse responses of the spaces and of the echo, as they come back."""
    # Low notes would turn a reverb to mud.
    clean = (Band("high_pass", 220.0), Band("high_shelf", 9000.0, -2.0))
    responses = {
        name: equalise(impulse_response(space, sample_rate, seed=seed), clean, sample_rate)
        for name, (space, seed) in plan.spaces.items()
    }
    return responses | {"echo": echo_response(sample_rate, **vars(plan.echo))}


def _sides(parts: Sequence[Part]) -> list[float]:
    """Return on which side each part goes: the one in its name, or both in turn."""
    sides = []
    for number, part in enumerate(parts):
        words = part.name.split("_")
        turn = 1.0 if number % 2 else -1.0
        sides.append(-1.0 if "left" in words else 1.0 if "right" in words else turn)
    return sides


def _balanced(audio: Audio, target_lufs: float, sample_rate: int) -> Audio:
    """Bring audio to a loudness; silence stays what it is."""
    lufs = loudness_lufs(audio, sample_rate)
    if lufs == SILENCE_LUFS:
        return audio
    return np.asarray(audio * np.float32(10 ** ((target_lufs - lufs) / 20)))
