"""What the arguments of demucs' networks become here: every one is understood or refused.

An argument that is left out has its default of version 4.1 of the package `demucs`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from desmezcla.errors import ReleaseError
from desmezcla.models import config_class

STEM_PATTERN = r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}"
PLAIN = (bool, int, float, str, Fraction, type(None))
MAX_LAYERS = 100
# The usual order of stems.
ORDER = ("vocals", "drums", "bass", "other", "guitar", "piano")

# Arguments of the constructors and their defaults in demucs 4.1.0.
_WAVEFORM: dict[str, Any] = {
    "audio_channels": 2,
    "channels": 64,
    "growth": 2.0,
    "depth": 6,
    "rewrite": True,
    "lstm_layers": 0,
    "kernel_size": 8,
    "stride": 4,
    "context": 1,
    "gelu": True,
    "glu": True,
    "norm_starts": 4,
    "norm_groups": 4,
    "dconv_mode": 1,
    "dconv_depth": 2,
    "dconv_comp": 4,
    "dconv_attn": 4,
    "dconv_lstm": 4,
    "dconv_init": 1e-4,
    "normalize": True,
    "resample": True,
    "rescale": 0.1,
    "samplerate": 44100,
    "segment": 40,
}
_TWO_BRANCHES: dict[str, Any] = {
    "audio_channels": 2,
    "channels": 48,
    "channels_time": None,
    "growth": 2,
    "nfft": 4096,
    "wiener_iters": 0,
    "end_iters": 0,
    "wiener_residual": False,
    "cac": True,
    "rewrite": True,
    "multi_freqs": None,
    "freq_emb": 0.2,
    "emb_scale": 10,
    "emb_smooth": True,
    "kernel_size": 8,
    "time_stride": 2,
    "stride": 4,
    "context": 1,
    "context_enc": 0,
    "norm_starts": 4,
    "norm_groups": 4,
    "dconv_mode": 1,
    "dconv_depth": 2,
    "rescale": 0.1,
    "samplerate": 44100,
}
_HYBRID: dict[str, Any] = _TWO_BRANCHES | {
    "depth": 6,
    "hybrid": True,
    "hybrid_old": False,
    "multi_freqs_depth": 2,
    "dconv_comp": 4,
    "dconv_attn": 4,
    "dconv_lstm": 4,
    "dconv_init": 1e-4,
    "segment": 40,
}
_TRANSFORMER: dict[str, Any] = _TWO_BRANCHES | {
    "depth": 4,
    "multi_freqs_depth": 3,
    "dconv_comp": 8,
    "dconv_init": 1e-3,
    "bottom_channels": 0,
    "t_layers": 5,
    "t_emb": "sin",
    "t_hidden_scale": 4.0,
    "t_heads": 8,
    "t_dropout": 0.0,
    "t_max_positions": 10000,
    "t_norm_in": True,
    "t_norm_in_group": False,
    "t_group_norm": False,
    "t_norm_first": True,
    "t_norm_out": True,
    "t_max_period": 10000.0,
    "t_weight_decay": 0.0,
    "t_lr": None,
    "t_layer_scale": True,
    "t_gelu": True,
    "t_weight_pos_embed": 1.0,
    "t_sin_random_shift": 0,
    "t_cape_mean_normalize": True,
    "t_cape_augment": True,
    "t_cape_glob_loc_scale": [5000.0, 1.0, 1.4],
    "t_sparse_self_attn": False,
    "t_sparse_cross_attn": False,
    "t_mask_type": "diag",
    "t_mask_random_seed": 42,
    "t_sparse_attn_window": 500,
    "t_global_window": 100,
    "t_sparsity": 0.95,
    "t_auto_sparsity": False,
    "t_cross_first": False,
    "segment": 10,
    "use_train_segment": True,
}
# Names of fields of `Config` where they are others.
RENAMED = {
    "audio_channels": "channels",
    "channels": "hidden_channels",
    "samplerate": "sample_rate",
    "segment": "segment_s",
}
# Arguments that matter only before or in training.
WITHOUT_EFFECT = frozenset({"dconv_init", "emb_smooth", "rescale", "t_lr", "t_weight_decay"})
# Arguments of sparse attention, which no published network has.
SPARSE = frozenset(
    {
        "t_auto_sparsity",
        "t_global_window",
        "t_mask_random_seed",
        "t_mask_type",
        "t_sparse_attn_window",
        "t_sparsity",
    }
)
NETWORKS = {
    "demucs.demucs.Demucs": ("demucs", _WAVEFORM),
    "demucs.hdemucs.HDemucs": ("hybrid_demucs", _HYBRID),
    "demucs.htdemucs.HTDemucs": ("ht_demucs", _TRANSFORMER),
}


@dataclass(frozen=True)
class Arguments:
    """What a network is built with.

    Attributes:
        model: Key of the architecture.
        fields: Fields of its `Config`; the stems are in the usual order.
        sources: The stems in the order of the file.
    """

    model: str
    fields: dict[str, Any]
    sources: tuple[str, ...]


def read_arguments(
    klass: str, given: Mapping[str, Any], origin: str, *, segment_s: float | None
) -> Arguments:
    """Return what the arguments of a constructor stand for.

    Args:
        klass: Full name of the class, one of `NETWORKS`.
        given: The arguments by name.
        origin: The file, for errors.
        segment_s: Seconds that the model shall be given at once, instead of its own; a network
            with a transformer takes no longer ones than its own.

    Errors:
        ReleaseError: if one is unknown, is no plain value or is not supported.
    """
    model, defaults = NETWORKS[klass]
    for name, value in given.items():
        parts = value if isinstance(value, list | tuple) else [value]
        if not all(isinstance(part, PLAIN) for part in parts):
            raise ReleaseError(f"{origin}: the argument {name[:80]!a} is no plain value")
    sources = given.get("sources")
    if not isinstance(sources, list | tuple) or not all(
        isinstance(stem, str) and re.fullmatch(STEM_PATTERN, stem) for stem in sources
    ):
        raise ReleaseError(f"{origin}: sources={sources!a:.80} must be names of stems")
    if unknown := sorted(given.keys() - defaults.keys() - {"sources"}):
        raise ReleaseError(
            f"{origin} has arguments that {klass} does not have in demucs 4.1: "
            f"{', '.join(unknown)[:200]!a}; it is of another version"
        )
    values = {name: _plain(given.get(name, default)) for name, default in defaults.items()}
    _check_values(values, origin)
    if "multi_freqs" in values:
        values["multi_freqs"] = values["multi_freqs"] or ()
    if segment_s and (model != "ht_demucs" or segment_s < values["segment"]):
        values["segment"] = segment_s
    order = (*(s for s in ORDER if s in sources), *(s for s in sources if s not in ORDER))
    fields = _config_fields(model, values, defaults, origin)
    return Arguments(model, fields | {"stems": order}, tuple(sources))


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Fraction) else value


def _check_values(values: dict[str, Any], origin: str) -> None:
    if values.get("t_sparse_self_attn") or values.get("t_sparse_cross_attn"):
        raise ReleaseError(
            f"{origin} has sparse attention, which desmezcla computes in another way, so that its "
            "weights would not fit; no published model has it"
        )
    for name in ("depth", "dconv_depth", "lstm_layers", "t_layers"):
        # Layers of nothing could be told without end.
        if not isinstance(values.get(name, 0), int) or values.get(name, 0) > MAX_LAYERS:
            raise ReleaseError(
                f"{origin}: {name}={values[name]!a:.80} must be a whole number up to {MAX_LAYERS}"
            )
    for name in ("segment", "norm_starts"):
        if not isinstance(values[name], int | float) or not values[name] > 0:
            raise ReleaseError(f"{origin}: {name}={values[name]!a:.80} must be a number above 0")


def _config_fields(
    model: str, values: dict[str, Any], defaults: Mapping[str, Any], origin: str
) -> dict[str, Any]:
    """Return the fields of a `Config` that arguments stand for."""
    known, unused = config_class(model).model_fields, _without_effect(values)
    fields = {}
    for name, value in values.items():
        field, default = RENAMED.get(name, name), defaults[name]
        if field in known and name not in unused:
            fields[field] = value
        elif name not in unused and value != default and (value or default):
            raise ReleaseError(
                f"{origin}: {name}={value!a:.80} must be {default!r}; desmezcla's {model} has "
                "nothing else"
            )
    return fields


def _without_effect(values: dict[str, Any]) -> set[str]:
    """Return the arguments that do not change what the network gives, with the others as given."""
    unused = set(WITHOUT_EFFECT | SPARSE)
    if not values.get("multi_freqs"):
        unused.add("multi_freqs_depth")
    if values.get("cac"):
        unused |= {"wiener_iters", "end_iters", "wiener_residual"}
    if values.get("t_emb") != "cape":
        unused |= {name for name in values if name.startswith("t_cape_")}
    if values.get("t_emb") != "scaled":
        unused.add("t_max_positions")
    return unused
