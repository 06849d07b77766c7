"""Changes of the training data at random, each a small class that is its own configuration."""

from desmezcla.datasets.augment.base import (
    Audio,
    Augmentation,
    BatchAugmentation,
    ExampleAugmentation,
    SignalAugmentation,
    StemAugmentation,
)
from desmezcla.datasets.augment.chain import AnyAugmentation, Augment, augment_from
from desmezcla.datasets.augment.channels import ChannelMute, ChannelSwap, StereoWidth
from desmezcla.datasets.augment.codec import Codec
from desmezcla.datasets.augment.colour import Eq, GaussianNoise, LowPass, Reverb, SoftClip
from desmezcla.datasets.augment.levels import Gain, GainDb, Normalise, Polarity, Silence
from desmezcla.datasets.augment.mixing import BatchMixing, StftMixing
from desmezcla.datasets.augment.pitch_time import PitchShift, TempoStretch

__all__ = [
    "AnyAugmentation",
    "Audio",
    "Augment",
    "Augmentation",
    "BatchAugmentation",
    "BatchMixing",
    "ChannelMute",
    "ChannelSwap",
    "Codec",
    "Eq",
    "ExampleAugmentation",
    "Gain",
    "GainDb",
    "GaussianNoise",
    "LowPass",
    "Normalise",
    "PitchShift",
    "Polarity",
    "Reverb",
    "SignalAugmentation",
    "Silence",
    "SoftClip",
    "StemAugmentation",
    "StereoWidth",
    "StftMixing",
    "TempoStretch",
    "augment_from",
]
