"""Smaller ONNX files: weights in half precision, matrix products of whole numbers."""

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from desmezcla.errors import ParameterError

# Arrays with fewer values are no weights worth the saving: tables of frequencies, scales, sizes.
_LEAST_VALUES = 1024


def with_half_weights(content: Any) -> Any:
    """Return a file's content with large arrays stored as float16.

    They are widened again when the file is loaded: what is computed is float32 as before, and as
    quick. An array with a value beyond what float16 holds stays as it is.
    """
    import onnx
    from onnx import numpy_helper

    graph, widened = content.graph, []
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.FLOAT:
            continue
        values = numpy_helper.to_array(tensor)
        if values.size < _LEAST_VALUES or np.abs(values).max() > np.finfo(np.float16).max:
            continue
        name = tensor.name
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float16), f"{name}_half"))
        widened.append(
            onnx.helper.make_node("Cast", [f"{name}_half"], [name], to=onnx.TensorProto.FLOAT)
        )
    if not widened:
        raise ParameterError(
            "precision='float16' is for weights, of which this model has none; use float32"
        )
    nodes = [*widened, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    return content


def in_whole_numbers(content: Any, work: Path, *, tables: Collection[str] = ()) -> Any:
    """Return a file's content with the weights of matrix products as whole numbers.

    Convolutions stay as they are: in whole numbers they are slower. Weights are unsigned, because
    older processors saturate where a signed number meets an unsigned one.

    Args:
        content: The content of the file.
        work: Where a file can be written meanwhile.
        tables: Names of arrays that are no trained weights, such as those that average spectra in
            bands. Their products stay as they are: what is quiet in a spectrum would be lost.
    """
    import onnx
    import onnxruntime
    from onnxruntime.quantization import QuantType, quantize_dynamic

    kept = _products_with(content.graph, tables)
    # The runtime's own simplification, which makes constants of weights that are transposed.
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(work)
    options.log_severity_level = 4
    onnxruntime.InferenceSession(
        content.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    content = onnx.load(work)
    del content.graph.value_info[:]  # shapes that are not adapted where weights are transposed
    # It asks for a preparation that has been done, unless it is told so.
    onnx.helper.set_model_props(content, {"onnx.quant.pre_process": "onnxruntime.quant"})
    quantize_dynamic(
        content,
        work,
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        nodes_to_exclude=kept,
        weight_type=QuantType.QUInt8,
    )
    content = onnx.load(work)
    if not any(node.op_type == "MatMulInteger" for node in content.graph.node):
        raise ParameterError(
            "precision='int8' is for matrix products, of which this model has none; use float32"
        )
    return content


def _products_with(graph: Any, tables: Collection[str]) -> list[str]:
    """Return the names of the matrix products of which one side is a table, as such or turned."""
    turned = {
        node.output[0]
        for node in graph.node
        if node.op_type == "Transpose" and node.input[0] in tables
    }
    sides = turned | set(tables)
    return [
        node.name for node in graph.node if sides & set(node.input) and node.op_type == "MatMul"
    ]
