"""Models as files that run without PyTorch."""

from desmezcla.exporting.onnx import export_core

__all__ = ["export_core"]
