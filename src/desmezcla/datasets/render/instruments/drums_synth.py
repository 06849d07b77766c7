"""Synthesised drums: skins and shells as modes, wires and air as noise, and two drum machines."""

from collections.abc import Callable

import numpy as np

from desmezcla.datasets.render.instruments.blocks import filtered, saturated
from desmezcla.datasets.render.instruments.effects import passing
from desmezcla.datasets.render.instruments.modal import band_noise, modes, noise_burst
from desmezcla.datasets.render.instruments.take import (
    Signal,
    add_at,
    between,
    between_log,
    faded,
    pick,
)

Stroke = Callable[[float], Signal]
# Ratios of the modes of a circular membrane (Fletcher and Rossing, chapter 18).
_MEMBRANE = np.array([1.0, 1.594, 2.136, 2.296, 2.653, 2.918, 3.156, 3.501])
_TOMS = {"tom_high": 1.9, "tom_mid": 1.4, "tom_low": 1.0}


class DrumSynth:
    """Makes strokes on the pieces of one synthesised kit.

    Args:
        style: "acoustic", "808" or "909".
        rng: Decides on the kit.
        sample_rate: In Hz.
    """

    def __init__(self, style: str, rng: np.random.Generator, sample_rate: int) -> None:
        self._style, self._rng, self._rate = style, rng, sample_rate
        self._tom_hz = between_log(rng, 65, 105)
        self._pieces: dict[str, Stroke] = {}

    def stroke(self, piece: str, velocity: float) -> Signal:
        """Return a stroke with a peak of 1. Shape: returns `[1, n]`."""
        if piece not in self._pieces:
            self._pieces[piece] = self._made(piece)
        sound = self._pieces[piece](velocity)
        rate = self._rate
        sound = faded(sound, attack=round(0.0003 * rate), release=round(0.006 * rate))
        return np.asarray(sound / max(float(np.abs(sound).max()), 1e-9))

    def _made(self, piece: str) -> Stroke:
        if piece in _TOMS:
            return self._tom(self._tom_hz * _TOMS[piece])
        if piece.startswith("conga"):
            return self._conga(between(self._rng, 290, 360) if "high" in piece else 210.0)
        if piece.startswith("hihat"):
            return self._hat(piece)
        if piece in ("ride", "ride_bell", "crash"):
            return self._cymbal(piece)
        makers = {
            "kick": self._kick,
            "snare": self._snare,
            "rim": self._rim,
            "clap": self._clap,
            "snap": self._snap,
            "tambourine": self._tambourine,
            "shaker": self._shaker,
            "cowbell": self._cowbell,
        }
        return makers[piece]()

    def _burst(self, low_hz: float, high_hz: float, decay_s: float, attack_s: float = 0) -> Signal:
        return noise_burst(
            self._rng, low_hz=low_hz, high_hz=high_hz, decay_s=decay_s, attack_s=attack_s,
            sample_rate=self._rate,
        )  # fmt: skip

    def _modes(self, hz: np.ndarray, decay_s: np.ndarray, gain: np.ndarray) -> Signal:
        phase = self._rng.uniform(-np.pi, 0, len(hz))
        samples = round(4.0 * self._rate)
        return modes(hz, decay_s, gain, samples=samples, sample_rate=self._rate, phase=phase)

    def _falling(self, first_hz: float, last_hz: float, fall_s: float, decay_s: float) -> Signal:
        """Return a sine whose pitch falls and which dies away."""
        time_s = np.arange(round(min(6 * decay_s, 4.0) * self._rate)) / self._rate
        cycles = last_hz * time_s + (first_hz - last_hz) * fall_s * (1 - np.exp(-time_s / fall_s))
        return np.asarray(
            (np.sin(2 * np.pi * cycles) * np.exp(-time_s / decay_s))[None], np.float32
        )

    def _kick(self) -> Stroke:
        rng, machine = self._rng, self._style
        ranges = {
            "acoustic": ((90, 170), (48, 72), (0.012, 0.03), (0.06, 0.3)),
            "808": ((90, 160), (42, 58), (0.02, 0.05), (0.25, 0.9)),
            "909": ((220, 400), (46, 60), (0.02, 0.035), (0.12, 0.28)),
        }[machine]
        first_hz, last_hz, fall_s, decay_s = (between_log(rng, *limits) for limits in ranges)
        click = between(rng, 0.05, 0.35) * (0.4 if machine == "808" else 1.0)
        click_hz = between_log(rng, 1500, 6000)
        drive = between_log(rng, 0.5, 2.5)

        def stroke(velocity: float) -> Signal:
            hard = 0.6 + 0.4 * velocity
            out = saturated(self._falling(first_hz * hard, last_hz, fall_s, decay_s), drive)
            add_at(out, self._burst(600, click_hz, 0.004), 0, gain=click * velocity)
            if machine == "acoustic":
                shell = self._burst(120, 500, 0.03)
                add_at(out, shell, 0, gain=0.12)
            return out

        return stroke

    def _snare(self) -> Stroke:
        rng = self._rng
        head_hz = between_log(rng, 165, 240)
        wires_s = between_log(rng, 0.05, 0.16)
        low_hz, high_hz = between_log(rng, 800, 2200), between_log(rng, 6500, 12000)
        tone = between(rng, 0.25, 0.7)
        ring = between_log(rng, 0.03, 0.1)
        ratios = np.array([1.0, 1.77]) if self._style != "acoustic" else _MEMBRANE[:6]

        def stroke(velocity: float) -> Signal:
            hz = ratios * head_hz * (1 + 0.02 * velocity)
            head = self._modes(hz, ring / ratios, tone / ratios**1.2)
            wires = self._burst(low_hz, high_hz, wires_s * (0.6 + 0.5 * velocity))
            out = np.array(0.3 * wires, np.float32)
            add_at(out, head, 0)
            add_at(out, self._burst(2000, 9000, 0.003), 0, gain=0.25 * velocity)
            return out

        return stroke

    def _tom(self, hz: float) -> Stroke:
        # From damped to open: some ring as long as a bass plays a note.
        decay_s = between_log(self._rng, 0.12, 0.7)
        bend = between(self._rng, 1.05, 1.6 if self._style != "acoustic" else 1.2)

        def stroke(velocity: float) -> Signal:
            out = self._falling(hz * (1 + (bend - 1) * velocity), hz, 0.05, decay_s)
            ratios = _MEMBRANE[1:]
            overtones = self._modes(hz * ratios, 0.3 * decay_s / ratios, 0.4 * velocity / ratios)
            add_at(out, overtones, 0)
            add_at(out, self._burst(500, 4000, 0.008), 0, gain=0.1 * velocity)
            return out

        return stroke

    def _metal(self, low_hz: float, high_hz: float, count: int) -> np.ndarray:
        """Return frequencies of a plate: ever denser towards the highs."""
        top = min(high_hz, 0.45 * self._rate)
        return np.sort(low_hz + (top - low_hz) * self._rng.random(count) ** 0.8)

    def _hat(self, piece: str) -> Stroke:
        rng = self._rng
        if "hihat" not in self._pieces:
            # The three ways to play it are one pair of cymbals.
            self._hat_hz = self._metal(between_log(rng, 2500, 5500), 16000, 90)
            self._hat_gain = rng.uniform(0.2, 1.0, 90) / 90**0.5
            self._hat_air = between(rng, 0.1, 0.5)
            self._pieces["hihat"] = lambda velocity: np.zeros((1, 1), np.float32)
        ranges = {
            "hihat_closed": (0.02, 0.05),
            "hihat_open": (0.2, 0.6),
            "hihat_pedal": (0.02, 0.04),
        }
        decay_s = between_log(rng, *ranges[piece])
        soft = 0.6 if piece == "hihat_pedal" else 1.0

        def stroke(velocity: float) -> Signal:
            tilt = (self._hat_hz / 6000) ** (0.6 * soft * (velocity - 0.5))
            spread = decay_s * rng.uniform(0.5, 1.5, len(self._hat_hz))
            out = self._modes(self._hat_hz, spread, self._hat_gain * tilt)
            add_at(out, self._burst(5000, 14000 * soft, decay_s), 0, gain=self._hat_air)
            return out

        return stroke

    def _cymbal(self, piece: str) -> Stroke:
        rng = self._rng
        low_hz, decay_s, wash = {
            "ride": (between_log(rng, 500, 900), between(rng, 0.7, 1.6), 0.15),
            "ride_bell": (between_log(rng, 700, 1100), between(rng, 0.5, 1.2), 0.03),
            "crash": (between_log(rng, 350, 800), between(rng, 0.5, 1.3), 0.6),
        }[piece]
        hz = self._metal(low_hz, 9000 if piece == "ride_bell" else 15000, 140)
        gain = rng.uniform(0.1, 1.0, len(hz)) / len(hz) ** 0.5
        if piece == "ride_bell":
            gain[:12] *= 6

        def stroke(velocity: float) -> Signal:
            fall = decay_s * (2000 / (hz + 2000)) ** 0.7 * rng.uniform(0.5, 1.6, len(hz))
            out = self._modes(hz, fall, gain * (hz / 3000) ** (0.5 * velocity - 0.3))
            air = self._burst(2500, 13000, 0.45 * decay_s, 0.004)
            add_at(out, air, 0, gain=wash * velocity)
            add_at(out, self._burst(2000, 9000, 0.004), 0, gain=0.5)
            return out

        return stroke

    def _rim(self) -> Stroke:
        hz = between_log(self._rng, 420, 900) * np.array([1.0, 2.05, 3.7])

        def stroke(velocity: float) -> Signal:
            out = self._modes(hz, np.array([0.018, 0.012, 0.006]), np.array([0.7, 1.0, 0.5]))
            add_at(out, self._burst(1500, 8000, 0.004), 0, gain=0.2)
            return out

        return stroke

    def _clap(self) -> Stroke:
        rng = self._rng
        low_hz, high_hz = between_log(rng, 600, 1100), between_log(rng, 2500, 6000)
        gaps_s = np.cumsum(rng.uniform(0.007, 0.014, 3))
        tail_s = between_log(rng, 0.03, 0.1)

        def stroke(velocity: float) -> Signal:
            out = np.zeros((1, round((gaps_s[-1] + 7 * tail_s) * self._rate)), np.float32)
            for gap_s, decay_s in zip((0.0, *gaps_s), (0.005, 0.005, 0.005, tail_s), strict=True):
                add_at(out, self._burst(low_hz, high_hz, decay_s), round(gap_s * self._rate))
            return out

        return stroke

    def _snap(self) -> Stroke:
        hz = between_log(self._rng, 1600, 2800)

        def stroke(velocity: float) -> Signal:
            out = self._burst(0.7 * hz, 1.5 * hz, 0.018)
            add_at(out, self._burst(2000, 9000, 0.003), 0, gain=0.6)
            return out

        return stroke

    def _tambourine(self) -> Stroke:
        rng = self._rng
        hz = self._metal(4500, 15000, 50)

        def stroke(velocity: float) -> Signal:
            out = np.zeros((1, round(0.45 * self._rate)), np.float32)
            for _ in range(4):
                jingle = self._modes(hz, rng.uniform(0.02, 0.12, 50), rng.uniform(0, 0.1, 50))
                start = round(float(rng.uniform(0, 0.025)) * self._rate)
                add_at(out, jingle, start, gain=float(rng.uniform(0.3, 1)))
            add_at(out, self._burst(300, 1500, 0.01), 0, gain=0.08)
            return out

        return stroke

    def _shaker(self) -> Stroke:
        rng = self._rng
        low_hz, attack_s = between_log(rng, 3000, 6500), between(rng, 0.012, 0.04)
        return lambda velocity: self._burst(low_hz, 13000, 0.025, attack_s)

    def _cowbell(self) -> Stroke:
        rng = self._rng
        first_hz = between_log(rng, 520, 640)
        second_hz = first_hz * between(rng, 1.44, 1.52)
        decay_s = between_log(rng, 0.06, 0.2)
        odd = np.array([1.0, 3.0, 5.0, 7.0])

        def stroke(velocity: float) -> Signal:
            hz = np.concatenate([first_hz * odd, second_hz * odd])
            return self._modes(hz, decay_s / np.tile(odd, 2) ** 0.3, 1 / np.tile(odd, 2))

        return stroke

    def _conga(self, hz: float) -> Stroke:
        decay_s = between_log(self._rng, 0.08, 0.2)

        def stroke(velocity: float) -> Signal:
            out = self._modes(hz * _MEMBRANE, decay_s / _MEMBRANE, velocity ** (_MEMBRANE - 1))
            add_at(out, self._burst(400, 3500, 0.006), 0, gain=0.3 * velocity)
            return out

        return stroke


def room_response(rng: np.random.Generator, *, decay_s: float, sample_rate: int) -> Signal:
    """Return the response of a small room as two microphones hear it. Shape: `[2, n]`, energy 1."""
    samples = round(1.5 * decay_s * sample_rate)
    noise = np.concatenate(
        [
            band_noise(rng, samples, low_hz=180, high_hz=6500, sample_rate=sample_rate)
            for _ in range(2)
        ]
    )
    time_s = np.arange(samples) / sample_rate
    noise *= (10 ** (-3 * time_s / decay_s)).astype(np.float32)
    # A few first reflections stand out of the rest.
    for channel in range(2):
        for _ in range(6):
            at = round(between_log(rng, 0.003, 0.03) * sample_rate)
            noise[channel, min(at, samples - 1)] += pick(rng, (-1, 1)) * between(rng, 1, 4)
    noise[:, : round(0.0025 * sample_rate)] = 0
    noise = filtered(noise, passing("highpass", 120.0, sample_rate))
    return np.asarray(noise / np.sqrt(np.sum(noise**2) / 2), np.float32)
