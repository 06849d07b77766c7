"""Write checkpoints of TensorFlow with random weights, and what Spleeter's own graph makes of them.

Run once, where `tensorflow` and `spleeter` (with `pandas`, and `norbert` for the Wiener filter) are
installed:

    python tests/golden/spleeter/make.py

The files in the repository are from spleeter 2.4.2, TensorFlow 2.12.1 and norbert 0.2.1. The
networks have the layers, activations and stems of the published ones, but few filters and a short
window, so that the files are small. No weight and no statistic is what it is before training.
"""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf
from spleeter.model import EstimatorSpecBuilder

Array = npt.NDArray[Any]

FOLDER = Path(__file__).parent
SAMPLES = 5000  # two pieces of 64 frames
FILTERED_SAMPLES = 3000  # one, which is what this project computes a filter from
SIZES = {"frame_length": 256, "frame_step": 64, "T": 64, "F": 64, "n_channels": 2}
FILTERS = [2, 3, 4, 5, 6, 7]
ELU = {"conv_activation": "ELU", "deconv_activation": "ELU"}
NETWORKS: dict[str, dict[str, Any]] = {
    "2stems": {
        "instrument_list": ["vocals", "accompaniment"],
        "mask_extension": "average",
        "model": {"type": "unet.unet", "params": {}},
    },
    "4stems": {
        "instrument_list": ["vocals", "drums", "bass", "other"],
        "mask_extension": "zeros",
        "model": {"type": "unet.unet", "params": ELU},
    },
    "5stems": {
        "instrument_list": ["vocals", "piano", "drums", "bass", "other"],
        "mask_extension": "zeros",
        "model": {"type": "unet.softmax_unet", "params": ELU},
    },
}


def mixture(generator: np.random.Generator) -> Array:
    """Return noise that is louder below and comes and goes, `[T, C]`."""
    white = generator.standard_normal((SAMPLES + 3, 2))
    smooth = white[3:] + white[2:-1] + white[1:-2] + 0.7 * white[:-3]
    swell = 0.6 + 0.4 * np.sin(np.arange(SAMPLES) / 300)[:, None]
    return (0.1 * smooth * swell).astype(np.float32)


def random_value(name: str, shape: tuple[int, ...], generator: np.random.Generator) -> Array:
    """Return what a variable shall hold."""
    kind = name.rpartition("/")[2]
    if kind == "kernel":
        scale = math.sqrt(3 / (shape[0] * shape[1] * min(shape[2:])))
        return scale * generator.standard_normal(shape)
    if kind in ("gamma", "moving_variance"):
        return generator.uniform(0.5, 1.5, shape)
    return 0.3 * generator.standard_normal(shape)


def graph(params: dict[str, Any], **options: Any) -> tuple[Any, Any, EstimatorSpecBuilder]:
    """Build Spleeter's graph in the default one; return the place of its input, and itself."""
    waveform = tf.compat.v1.placeholder(tf.float32, (None, 2))
    builder = EstimatorSpecBuilder({"waveform": waveform}, {**params, **options})
    return waveform, builder.outputs, builder


def make(name: str, audio: Array, seed: int) -> dict[str, Array]:
    """Write one checkpoint, and return the stems that come out by `NAME/STEM`."""
    rest = {"mix_name": "mix", "sample_rate": 44100, "separation_exponent": 2}
    params: dict[str, Any] = {**SIZES, **rest, **NETWORKS[name]}
    params["model"]["params"] = {**params["model"]["params"], "conv_n_filters": FILTERS}
    generator = np.random.default_rng(seed)
    folder = FOLDER / name
    folder.mkdir(exist_ok=True)
    results: dict[str, Array] = {}
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        waveform, outputs, builder = graph(params)
        variables = tf.compat.v1.global_variables()
        if name == "2stems":  # as a training folder has it: with the optimizer's variables
            tf.compat.v1.train.get_or_create_global_step()
            loss = tf.add_n([tf.reduce_mean(x) for x in builder.model_outputs.values()])
            trained = [v for v in variables if "moving" not in v.name and v.shape.rank]
            tf.compat.v1.train.AdamOptimizer(1e-4).minimize(loss, var_list=trained)
        session.run(tf.compat.v1.global_variables_initializer())
        for variable in variables:
            value = random_value(variable.op.name, tuple(variable.shape), generator)
            variable.load(value.astype(np.float32), session)
        saver = tf.compat.v1.train.Saver(max_to_keep=1, save_relative_paths=True)
        saver.save(session, str(folder / "model"), write_meta_graph=False)
        stems = session.run(outputs, {waveform: audio})
        results |= {f"{name}/{stem}": value for stem, value in stems.items()}
        if name == "4stems":
            mask = session.run(builder.masks["bass"], {waveform: audio})
            results[f"{name}/bass mask"] = mask[:, : SIZES["F"]].astype(np.float32)
    if name == "2stems":
        with tf.Graph().as_default(), tf.compat.v1.Session() as session:
            waveform, outputs, _ = graph(params, MWF=True)
            tf.compat.v1.train.Saver().restore(session, str(folder / "model"))
            stems = session.run(outputs, {waveform: audio[:FILTERED_SAMPLES]})
            results |= {f"{name}/{stem} filtered": value for stem, value in stems.items()}
    (folder / "config.json").write_text(json.dumps(params, indent=1) + "\n", encoding="utf-8")
    return results


def main() -> None:
    tf.compat.v1.disable_eager_execution()
    audio = mixture(np.random.default_rng(0))
    results: dict[str, Any] = {"mixture": audio}
    for seed, name in enumerate(NETWORKS):
        results |= make(name, audio, seed)
    np.savez_compressed(FOLDER / "stems.npz", **results)


if __name__ == "__main__":
    main()
