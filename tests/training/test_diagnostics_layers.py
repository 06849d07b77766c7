"""What is measured of layers, and who is named when numbers stop being finite."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor, nn

from desmezcla.training.diagnostics.finite import Finding, trace
from desmezcla.training.diagnostics.probe import Probe
from desmezcla.training.diagnostics.statistics import Spread, dead_units, layers, units

Values = st.integers(1, 40).flatmap(
    lambda n: arrays(np.float32, n, elements=st.floats(-100, 100, width=32))
)


def spread_of(*parts: Tensor) -> dict[str, float]:
    spread = Spread()
    for part in parts:
        spread.add(part)
    return spread.summary([row.tolist() for row in spread.rows])


@given(Values, Values)
@settings(max_examples=50, deadline=None)
def test_the_spread_of_two_tensors_is_that_of_all_their_values(one: Any, other: Any) -> None:
    found = spread_of(torch.from_numpy(one), torch.from_numpy(other))
    every = np.concatenate([one, other]).astype(np.float64)
    assert found["mean"] == pytest.approx(every.mean(), abs=1e-3)
    assert found["std"] == pytest.approx(every.std(), abs=1e-3)
    assert found["max"] == pytest.approx(np.abs(every).max())
    assert found["zeros"] == pytest.approx((every == 0).mean(), abs=1e-6)
    assert found["nonfinite"] == 0


def test_the_spread_counts_what_is_not_finite_and_takes_complex_values() -> None:
    found = spread_of(torch.tensor([0.0, 1.0, torch.inf, torch.nan]))
    assert found["nonfinite"] == pytest.approx(0.5)
    assert found["zeros"] == pytest.approx(0.25)
    assert spread_of(torch.tensor([3 + 4j]))["max"] == 4


def backward(model: nn.Module, x: Tensor) -> nn.Module:
    model(x).square().sum().backward()
    return model


def test_units_that_a_relu_cuts_off_for_the_whole_batch_are_dead() -> None:
    torch.manual_seed(0)
    layer = nn.Linear(3, 8)
    with torch.no_grad():
        layer.bias[:2] = -1e6
        layer.bias[2:] = 1e6
    backward(nn.Sequential(layer, nn.ReLU()), torch.randn(5, 3))
    assert dead_units(layer) == 2
    assert units(layer) == 8
    assert dead_units(nn.ReLU()) is None


def test_units_of_a_transposed_convolution_are_its_outputs() -> None:
    layer = nn.ConvTranspose1d(4, 6, 3, groups=2)
    backward(layer, torch.randn(1, 4, 5))
    assert layer.weight.grad is not None
    # In each group 2 inputs lead to 3 outputs; the second output of the second group is cut off.
    layer.weight.grad[2:, 1] = 0
    assert units(layer) == 6
    assert dead_units(layer) == 1


def test_a_probe_measures_layers_in_the_order_of_execution_and_leaves_no_hook() -> None:
    torch.manual_seed(0)
    first, last = nn.LSTM(3, 4), nn.Linear(4, 2)
    model = nn.ModuleDict({"last": last, "first": first, "idle": nn.ReLU()})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    x = torch.randn(6, 2, 3)
    probe = Probe(model, samples=True)
    probe.install()
    out = last(first(x)[0])
    out.retain_grad()
    out.square().sum().backward()
    probe.remove()
    assert not any(module._forward_hooks for module in model.modules())
    before = last.weight.detach().clone(), last.bias.detach().clone()
    probe.before_update()
    optimizer.step()
    found = probe.after_update()
    assert list(found.layers) == ["first", "last", "idle"]
    facts = found.layers["last"]
    assert facts["activation"]["std"] == pytest.approx(out.detach().std(correction=0).item())
    assert out.grad is not None
    assert facts["gradient"]["max"] == pytest.approx(float(out.grad.abs().max()), rel=1e-5)
    changes = [last.weight - before[0], last.bias - before[1]]
    changes = [change.detach() for change in changes]
    size = float(torch.cat([change.flatten() for change in changes]).norm())
    assert facts["weight"]["update"] == pytest.approx(size, rel=1e-5)
    assert facts["weight"]["gradient"] == pytest.approx(size / 0.5, rel=1e-5)
    assert found.layers["idle"] == {"kind": "ReLU"}
    assert found.samples["first", "activation"].shape == (6 * 2 * 4,)


def test_layers_are_leaves_and_what_has_weights_of_its_own() -> None:
    names = [name for name, _ in layers(nn.TransformerEncoderLayer(4, 2, 4))]
    assert {"self_attn", "self_attn.out_proj", "linear1", "norm1", "dropout"} <= set(names)


class Breaks(torch.autograd.Function):
    """The identity, but its gradient is infinite where a value is larger than 100."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        return torch.where(x > 100, torch.inf, grad)


def breaks(x: Tensor) -> Tensor:
    return Breaks.apply(x)  # type: ignore[no-any-return, no-untyped-call]


class Apply(nn.Module):
    def __init__(self, what: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.what = what

    def forward(self, x: Tensor) -> Tensor:
        return self.what(x)


def overflows(x: Tensor) -> Tensor:
    return torch.where(x > 100, torch.inf, x)


class Chain(nn.Module):
    """Layers `first`, `norm`, `middle` and `last`, with something done between the last two."""

    def __init__(self, middle: nn.Module, between: Callable[[Tensor], Tensor] | None) -> None:
        super().__init__()
        self.first, self.norm = nn.Linear(3, 3), nn.BatchNorm1d(3, affine=False)
        self.middle, self.last = middle, nn.Linear(3, 2)
        self.between = between or (lambda x: x)
        with torch.no_grad():
            self.first.weight.copy_(torch.eye(3))

    def forward(self, x: Tensor) -> Tensor:
        large = self.first(x)
        hidden = self.norm(large) + large  # the examples mix, as in a real model
        return self.last(self.between(self.middle(hidden)))  # type: ignore[no-any-return]


def traced(middle: nn.Module, between: Callable[[Tensor], Tensor] | None = None) -> Finding:
    """Trace a step of which the examples 1 and 4 have a value above 100."""
    torch.manual_seed(0)
    model = Chain(middle, between)
    x = torch.randn(6, 3)
    x[1, 0] = x[4, 2] = 1000
    return finding(model, x)


def finding(model: nn.Module, x: Tensor) -> Finding:
    buffers = {name: buffer.clone() for name, buffer in model.named_buffers()}
    found = trace(model, lambda x, y: (model(x) - y).square().mean(), (x, torch.zeros(len(x), 2)))
    for name, buffer in model.named_buffers():
        assert torch.equal(buffer, buffers[name])
    assert model.training
    for module in model.modules():
        assert not module._forward_hooks
        assert not module._forward_pre_hooks
    assert all(parameter.grad is None for parameter in model.parameters())
    return found


def test_a_layer_that_overflows_is_named_with_the_examples() -> None:
    found = traced(Apply(overflows))
    assert (found.phase, found.layer, found.kind) == ("forward", "middle", "Apply")
    assert found.inside
    assert found.examples == (1, 4)
    assert found.statistics is not None
    assert found.statistics["max"] == pytest.approx(1000, rel=0.01)
    assert "forward, is layer middle (Apply)" in found.text()


def test_what_is_done_between_two_layers_is_told_from_them() -> None:
    found = traced(nn.Identity(), overflows)
    assert (found.phase, found.layer, found.inside) == ("forward", "last", False)
    assert found.examples == (1, 4)
    assert "just before layer last" in found.text()


def test_a_layer_with_an_infinite_gradient_is_named() -> None:
    found = traced(Apply(breaks))
    assert (found.phase, found.layer, found.inside) == ("backward", "middle", True)
    assert found.examples == (1, 4)


def test_an_infinite_gradient_between_two_layers_is_told_from_them() -> None:
    found = traced(nn.Sigmoid(), lambda x: breaks(200 * x))
    assert (found.phase, found.layer, found.inside) == ("backward", "middle", False)


def test_an_infinite_gradient_of_weights_alone_is_found() -> None:
    class Weighted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.zeros(3))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.weight.abs().sqrt()  # its derivative at 0 is not finite

    found = traced(Weighted())
    assert (found.phase, found.layer) == ("backward", "middle")


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_bad_batch_bad_weights_and_a_bad_loss_are_told_apart() -> None:
    model = Chain(nn.Identity(), None)
    x = torch.randn(4, 3)
    x[2, 1] = torch.nan
    assert finding(model, x) == Finding("batch", examples=(2,))
    good = torch.randn(4, 3)
    batch = (good, torch.zeros(4, 2))
    lost = trace(model, lambda x, y: (model(x) - y).sum() / torch.zeros(()), batch)
    assert (lost.phase, lost.examples) == ("loss", (0, 1, 2, 3))
    huge = trace(model, lambda x, y: 3e20 * model(x).square().sum(), batch)
    assert (huge.phase, huge.kind) == ("norm", "Linear")
    assert finding(model, good).phase == "elsewhere"
    with torch.no_grad():
        model.last.weight[0, 0] = torch.inf
    found = finding(model, good)
    assert (found.phase, found.layer) == ("weights", "last")
