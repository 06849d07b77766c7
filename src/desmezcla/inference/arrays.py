"""Arrays of PyTorch from outside, where there may be no PyTorch."""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor


def is_tensor(audio: "NDArray[Any] | Tensor") -> bool:
    """Whether audio is a tensor; where PyTorch was never imported, there is none."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(audio, torch.Tensor)


def to_array(audio: "NDArray[Any] | Tensor") -> NDArray[Any]:
    """Return audio as an array."""
    tensor: Any = audio
    return tensor.detach().cpu().numpy() if is_tensor(audio) else np.asarray(audio)


def as_given(array: NDArray[np.float32], audio: "NDArray[Any] | Tensor") -> Any:
    """Return an array as audio was given: as it is, or as a tensor on the same device."""
    if not is_tensor(audio):
        return array
    import torch

    given: Any = audio
    return torch.from_numpy(array).to(given.device)
