"""What is wanted of a computation."""

import torch


def only_the_result() -> bool:
    """Say whether nothing but the result is wanted: no gradients, and no graph for an export.

    Then memory may be used again, and the work cut into pieces of a convenient size.
    """
    return not (torch.is_grad_enabled() or torch.compiler.is_compiling())
