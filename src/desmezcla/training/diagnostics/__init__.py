"""What goes on inside a training: activations, gradients, stability, overfitting.

`config` is the part of a recipe; `callback` is what Lightning calls, and the only file here that
needs Lightning; `probe` measures layers, `finite` names the layer where values stop being finite,
`overfitting` judges the gap between training and validation, `renewal` lets new songs be rendered,
`journal` is what stands in the run's folder, and `reading`, `page` and `charts` make an HTML page.
"""
