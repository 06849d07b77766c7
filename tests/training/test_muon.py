"""Muon beside AdamW: which parameters go where, and what a step does."""

from typing import Any

import pytest
import torch
from torch import nn

from desmezcla.training.muon import Muon

OPTIONS: dict[str, Any] = {"lr": 0.01, "weight_decay": 0.1}
BETAS = (0.9, 0.98)


class Net(nn.Module):
    """A kernel, a matrix, biases, a norm and a bare parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, (1, 5))
        self.dense = nn.Linear(4, 6)
        self.norm = nn.LayerNorm(6)
        self.place = nn.Parameter(torch.ones(2, 6))

    def loss(self) -> torch.Tensor:
        x = torch.linspace(-1, 1, 3 * 2 * 9).view(1, 3, 2, 9)
        y = self.norm(self.dense(self.conv(x).mean(-1).mT))
        result: torch.Tensor = (y * self.place).square().mean()
        return result


def stepped(steps: int) -> tuple[Net, Net]:
    """Return a network after some steps, and as it was before."""
    torch.manual_seed(0)
    net, before = Net(), Net()
    before.load_state_dict(net.state_dict())
    optimizer = Muon(net, betas=BETAS, **OPTIONS)
    for _ in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(net.loss())
        optimizer.step()
    return net, before


def test_matrices_and_kernels_move_as_torchs_muon_moves_them() -> None:
    net, before = stepped(1)
    torch.autograd.backward(before.loss())
    for layer, old in ((net.conv, before.conv), (net.dense, before.dense)):
        assert old.weight.grad is not None
        matrix = nn.Parameter(old.weight.detach().flatten(1).clone())
        matrix.grad = old.weight.grad.flatten(1)
        torch.optim.Muon([matrix], adjust_lr_fn="match_rms_adamw", **OPTIONS).step()  # type: ignore[no-untyped-call]
        torch.testing.assert_close(layer.weight.flatten(1), matrix)


def test_the_rest_moves_as_adamw_moves_it() -> None:
    net, before = stepped(1)
    torch.autograd.backward(before.loss())
    rest: list[Any] = [before.conv.bias, before.dense.bias, *before.norm.parameters(), before.place]
    torch.optim.AdamW(rest, betas=BETAS, **OPTIONS).step()
    moved = [net.conv.bias, net.dense.bias, *net.norm.parameters(), net.place]
    for ours, theirs in zip(moved, rest, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_the_loss_falls() -> None:
    net, before = stepped(30)
    assert net.loss().item() < 0.5 * before.loss().item()


def test_the_rate_of_the_groups_is_that_of_a_step() -> None:
    net = Net()
    optimizer = Muon(net, betas=BETAS, **OPTIONS)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    old = {key: value.clone() for key, value in net.state_dict().items()}

    def closure() -> int:
        torch.autograd.backward(net.loss())
        return 7

    loss = optimizer.step(closure)
    assert loss == 7
    assert all(torch.equal(value, old[key]) for key, value in net.state_dict().items())


@pytest.mark.parametrize("frozen", ["conv", "dense"])
def test_what_needs_no_gradient_is_left_alone(frozen: str) -> None:
    net = Net()
    layer = getattr(net, frozen).requires_grad_(False)
    old = layer.weight.clone()
    optimizer = Muon(net, betas=BETAS, **OPTIONS)
    torch.autograd.backward(net.loss())
    optimizer.step()
    assert torch.equal(layer.weight, old)
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5
