import pytest
import torch

from desmezcla.dsp.frames import overlap_add
from desmezcla.errors import ParameterError
from desmezcla.models import build_model
from desmezcla.models.hs_tasnet import HSTasNet
from desmezcla.nn.streaming import Memory


def small(**fields: object) -> HSTasNet:
    torch.manual_seed(0)
    sizes = {"window_samples": 64, "hop_samples": 32, "filters": 24, "units": 12}
    model = build_model("hs_tasnet", **(sizes | fields))
    assert isinstance(model, HSTasNet)
    return model


def noise(samples: int) -> torch.Tensor:
    return 0.1 * torch.randn(2, 2, samples, generator=torch.Generator().manual_seed(0))


def test_the_numbers_of_parameters_are_as_documented() -> None:
    for fields, millions in (({}, 44.5), ({"layers": 1, "summed": True}, 22.5)):
        model = build_model("hs_tasnet", **fields)
        count = sum(parameter.numel() for parameter in model.parameters())
        assert round(count / 1e6, 1) == millions
        assert model.spec.causal
        assert model.spec.latency_samples / model.spec.sample_rate == pytest.approx(0.023, abs=5e-4)


@pytest.mark.parametrize("hop_samples", [8, 16, 32])
@pytest.mark.parametrize("samples", [1, 31, 32, 33, 1000])
def test_a_mask_of_one_gives_the_mixture(hop_samples: int, samples: int) -> None:
    model = small(hop_samples=hop_samples)
    torch.nn.init.zeros_(model.network.spectrum_out.weight)
    torch.nn.init.constant_(model.network.spectrum_out.bias, 100.0)
    torch.nn.init.zeros_(model.network.decoder.weight)
    mix = noise(samples)
    stems = model(mix)
    torch.testing.assert_close(stems, mix[:, None].expand_as(stems), rtol=0, atol=1e-6)


@pytest.mark.parametrize("fields", [{}, {"layers": 1, "summed": True}, {"hop_samples": 16}])
def test_frame_after_frame_gives_what_the_whole_gives(fields: dict[str, object]) -> None:
    model = small(**fields)
    mix = noise(1000)
    whole = model.frames(mix)
    memory, parts = Memory(), []
    with torch.no_grad():
        for frame in torch.split(whole, 1, dim=2):
            spectrum = model.spectrum(frame)
            memory = Memory(memory.state)
            output = model.network(frame, spectrum.abs(), memory)
            parts.append(model.stem_frames(spectrum, output))
        together = overlap_add(torch.cat(parts, dim=3), model.config.hop_samples)[..., :1000]
        torch.testing.assert_close(together, model(mix), rtol=0, atol=1e-6)


def test_the_memory_reaches_far_back() -> None:
    model = small()
    mix = noise(3000)
    changed = mix.clone()
    changed[..., :100] = 0
    assert not torch.equal(model(changed)[..., 300:400], model(mix)[..., 300:400])


@pytest.mark.parametrize("hop_samples", [64, 48])
def test_frames_that_do_not_overlap_are_refused(hop_samples: int) -> None:
    with pytest.raises(ParameterError, match=f"two or more times hop_samples={hop_samples}"):
        small(hop_samples=hop_samples)
