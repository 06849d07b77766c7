"""What all losses have in common: shapes, stems, silence, precision, configuration, documents."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from desmezcla.errors import ParameterError
from desmezcla.losses import L1, AnyLoss, Loss, Losses, Mse, losses_from

STEMS = ("vocals", "drums", "bass", "other")
CLASSES: list[type[Loss]] = list(get_args(get_args(AnyLoss)[0]))
KINDS = [cls.model_fields["kind"].default for cls in CLASSES]
# Every kind in every domain that it has; those without an entry are 0 for perfect estimates.
VARIANTS = [
    (kind, domain)
    for kind, cls in zip(KINDS, CLASSES, strict=True)
    for domain in get_args(cls.model_fields["domain"].annotation)
]
PERFECT = {"si_sdr": -60.0}
DOCS = Path(__file__).parents[2] / "docs" / "losses.md"

Case = tuple[Tensor, Tensor, Tensor]


def perfect_estimates(domain: str, targets: Tensor) -> Tensor:
    """Return what a model should give; in the domain "energy", that of no error."""
    return torch.zeros_like(targets) if domain == "energy" else targets.clone()


def build(kind: str, domain: str, stems: tuple[str, ...] = STEMS, **options: Any) -> Losses:
    return losses_from([{"kind": kind, "domain": domain}], stems=stems, **options)


@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_the_total_is_the_sum_of_the_terms(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    shares = build(kind, domain)(*case(domain))
    total = shares.pop("total")
    assert total.shape == ()
    assert total.dtype == torch.float32
    assert all(name.startswith(kind) for name in shares)
    torch.testing.assert_close(total, sum(shares.values()))


@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_perfect_estimates_have_the_least_loss(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    estimates, targets, mixture = case(domain)
    losses = build(kind, domain)
    both = (perfect_estimates(domain, targets), estimates)
    perfect, noisy = (losses(e, targets, mixture)["total"] for e in both)
    assert perfect < noisy
    if kind not in ("deepconvsep", "frame_sdr"):
        assert perfect.item() == pytest.approx(PERFECT.get(kind, 0.0), abs=1e-3)


@pytest.mark.parametrize("silent", ["targets", "estimates", "both", "mixture"])
@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_silence_has_finite_values_and_gradients(
    kind: str, domain: str, silent: str, case: Callable[[str], Case]
) -> None:
    estimates, targets, mixture = case(domain)
    if silent != "estimates":
        targets[:, 1] = 0
    if silent in ("estimates", "both"):
        estimates[:, 1] = 0
    if silent == "mixture":
        estimates, targets, mixture = 1e-7 * estimates, 0 * targets, 0 * mixture
    estimates.requires_grad_()
    total = build(kind, domain)(estimates, targets, mixture)["total"]
    total.backward()
    assert torch.isfinite(total)
    assert estimates.grad is not None
    assert torch.isfinite(
        torch.view_as_real(estimates.grad) if domain == "spectrum" else estimates.grad
    ).all()


@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_a_perfect_estimate_has_finite_gradients(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    _, targets, mixture = case(domain)
    estimates = perfect_estimates(domain, targets).requires_grad_()
    build(kind, domain)(estimates, targets, mixture)["total"].backward()
    assert estimates.grad is not None
    assert torch.isfinite(estimates.grad.abs()).all()


@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_one_step_along_the_gradient_lowers_the_loss(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    estimates, targets, mixture = case(domain)
    losses = build(kind, domain)
    estimates.requires_grad_()
    before = losses(estimates, targets, mixture)["total"]
    (gradient,) = torch.autograd.grad(before, estimates)
    step = 1e-3 * estimates.detach().abs().max() / gradient.abs().max()
    after = losses(estimates.detach() - step * gradient, targets, mixture)["total"]
    assert after < before


@pytest.mark.parametrize(("kind", "domain"), [v for v in VARIANTS if v[1] == "waveform"])
def test_half_precision_is_accumulated_in_single(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    estimates, targets, mixture = (values.bfloat16() for values in case(domain))
    losses = build(kind, domain)
    with torch.autocast("cpu", torch.bfloat16):
        found = losses(estimates, targets, mixture)["total"]
    exact = losses(estimates.double(), targets.double(), mixture.double())["total"]
    assert found.dtype == torch.float32
    assert exact.dtype == torch.float64
    assert found.item() == pytest.approx(exact.item(), rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_mono_and_a_single_stem_are_possible(kind: str, case: Callable[[str], Case]) -> None:
    domain = dict(reversed(VARIANTS))[kind]
    estimates, targets, mixture = case(domain)
    losses = build(kind, domain, stems=("vocals",))
    total = losses(estimates[:, :1, :1], targets[:, :1, :1], mixture[:, :1])["total"]
    assert torch.isfinite(total)


@pytest.mark.parametrize(("kind", "domain"), VARIANTS)
def test_a_stem_without_weight_has_no_gradient(
    kind: str, domain: str, case: Callable[[str], Case]
) -> None:
    estimates, targets, mixture = case(domain)
    estimates.requires_grad_()
    weights = {"drums": 0.0, "bass": 0.0, "other": 0.0}
    losses = build(kind, domain, stem_weights=weights)
    losses(estimates, targets, mixture)["total"].backward()
    assert estimates.grad is not None
    strength = estimates.grad.abs().transpose(0, 1).flatten(1).sum(dim=1)
    assert strength[0] > 0
    # The stems that DeepConvSep compares with each other all have one.
    if kind != "deepconvsep":
        assert strength[1:].tolist() == [0, 0, 0]


def test_stem_weights_are_those_of_a_mean(case: Callable[[str], Case]) -> None:
    estimates, targets, mixture = case("waveform")
    per_stem = (estimates - targets).abs().mean(dim=(0, 2, 3))
    losses = Losses([L1()], stems=STEMS, stem_weights={"vocals": 3.0, "other": 0.0})
    expected = (3 * per_stem[0] + per_stem[1] + per_stem[2]) / 5
    torch.testing.assert_close(losses(estimates, targets, mixture)["total"], expected)


def test_weights_of_losses_multiply_their_terms(case: Callable[[str], Case]) -> None:
    both = Losses([L1(weight=0.7), Mse(weight=3.0)], stems=STEMS)(*case("waveform"))
    plain = Losses([L1(), Mse()], stems=STEMS)(*case("waveform"))
    torch.testing.assert_close(both["l1"], 0.7 * plain["l1"])
    torch.testing.assert_close(both["total"], 0.7 * plain["l1"] + 3 * plain["mse"])


def test_losses_are_no_part_of_a_checkpoint() -> None:
    assert not Losses([L1()], stems=STEMS).state_dict()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([{"kind": "l3"}], "l3"),
        ([{"kind": "l1", "wieght": 2}], "wieght"),
        ([{"kind": "l1", "weight": -1}], "weight"),
        ([{"kind": "magnitude_mse", "domain": "waveform"}], "domain"),
        ([{"kind": "multi_resolution_stft", "resolutions": [[512, 600, 512]]}], "hop <= window"),
        ([], "one or more"),
        ([{"kind": "l1"}, {"kind": "l1"}], "different"),
        ([{"kind": "l1"}, {"kind": "magnitude_l1"}], "one domain"),
    ],
)
def test_a_wrong_recipe_is_refused(data: list[dict[str, Any]], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        losses_from(data, stems=STEMS)


@pytest.mark.parametrize(
    "weights", [{"piano": 1.0}, {"vocals": -1.0}, dict.fromkeys(STEMS, 0.0), {"bass": float("nan")}]
)
def test_wrong_stem_weights_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match="stem_weights"):
        Losses([L1()], stems=STEMS, stem_weights=weights)


def test_shapes_that_do_not_fit_are_refused(case: Callable[[str], Case]) -> None:
    estimates, targets, mixture = case("waveform")
    losses = Losses([L1()], stems=STEMS)
    for wrong in (
        (estimates[:, :3], targets[:, :3], mixture),
        (estimates, targets[..., :-1], mixture),
        (estimates, targets, mixture[:, :1]),
        case("spectrum"),
    ):
        with pytest.raises(ParameterError, match=r"\[B, S, C, T\]"):
            losses(*wrong)


def test_the_document_lists_every_kind_and_field() -> None:
    text = DOCS.read_text(encoding="utf-8")
    for kind, cls in zip(KINDS, CLASSES, strict=True):
        section = re.search(rf"^### `{kind}`\n(.*?)(?=^##|\Z)", text, re.M | re.S)
        assert section, f"docs/losses.md has no section `{kind}`"
        for name in cls.__annotations__.keys() - {"kind", "domain"}:
            row = re.search(rf"^\| `{name}` \| (.*?) \|", section[1], re.M)
            assert row, f"docs/losses.md does not describe `{name}` of `{kind}`"
            default = json.dumps(cls.model_fields[name].default).replace('"', "")
            assert row[1] == default, (kind, name, row[1])
