"""Conv-TasNet: a learned transform, masks from dilated convolutions over its frames, and back.

Reference:
    Luo and Mesgarani, "Conv-TasNet: Surpassing Ideal Time-Frequency Magnitude Masking for Speech
    Separation", IEEE/ACM Transactions on Audio, Speech, and Language Processing 27(8), 2019. For
    two channels: Défossez, Usunier, Bottou and Bach, "Music Source Separation in the Waveform
    Domain", 2019.

Differences from the paper:
    None in the network: parameters have the names and shapes of asteroid's version, so that its
    weights fit, but for the residual path of the last block, whose result nobody reads when there
    are skip paths. With two channels, a filter has taps on both of them, and one mask serves both.
    What is missing of the last frame is filled with zeros; asteroid leaves its samples silent.
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from pydantic import Field, model_validator
from torch import Tensor, nn

from desmezcla.dsp.framing import Framing
from desmezcla.dsp.front_end import FrontEnd
from desmezcla.models.base import (
    Core,
    ModelConfig,
    Part,
    SeparationModel,
    StreamCore,
    StreamStep,
)
from desmezcla.nn.streaming import Memory, Streaming, in_turn
from desmezcla.spec import ModelSpec, ValidLengths

TINY: dict[str, Any] = {
    "filters": 64,
    "filter_samples": 32,
    "stride_samples": 16,
    "bottleneck": 24,
    "hidden": 32,
    "skip": 24,
    "blocks": 4,
    "repeats": 2,
    "segment_s": 0.1,
}

EPSILON = 1e-8


class Config(ModelConfig):
    """Configuration; the defaults are the best of the paper.

    Attributes:
        filters: Filters of the learned transform (N in the paper).
        filter_samples: Length of a filter (L), samples.
        stride_samples: Samples from one frame to the next; half a filter in the paper.
        bottleneck: Features between the blocks (B).
        hidden: Features inside a block (H).
        skip: Features of the skip paths (Sc); 0 for none, as in the paper's first version.
        kernel: Taps of the dilated convolutions (P), odd.
        blocks: Blocks of a repeat (X), of which each dilates twice as far as the one before.
        repeats: Repeats (R).
        norm: What a normalisation covers: "global" is the whole segment (gLN), "cumulative" all
            frames so far (cLN in the paper, cgLN in asteroid), "channel" one frame (cLN in
            asteroid).
        mask: What bounds the masks.
        encoder: What follows the filters.
        causal: Convolutions that see no later frame, which needs a norm that does neither.
        segment_s: Seconds that the engine gives the model at once.
    """

    filters: int = Field(512, ge=1)
    filter_samples: int = Field(16, ge=2)
    stride_samples: int = Field(8, ge=1)
    bottleneck: int = Field(128, ge=1)
    hidden: int = Field(512, ge=1)
    skip: int = Field(128, ge=0)
    kernel: int = Field(3, ge=1)
    blocks: int = Field(8, ge=1, le=16)
    repeats: int = Field(3, ge=1)
    norm: Literal["global", "cumulative", "channel"] = "global"
    mask: Literal["sigmoid", "relu", "softmax"] = "sigmoid"
    encoder: Literal["linear", "relu"] = "linear"
    causal: bool = False
    segment_s: float = Field(4.0, gt=0)

    @model_validator(mode="after")
    def _options_fit(self) -> "Config":
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel={self.kernel} must be odd")
        if self.stride_samples > self.filter_samples:
            raise ValueError(
                f"stride_samples={self.stride_samples} must be at most "
                f"filter_samples={self.filter_samples}"
            )
        if self.causal and self.norm == "global":
            raise ValueError('norm="global" sees the future; causal=True needs "cumulative"')
        return self

    @property
    def reach_samples(self) -> int:
        """Samples that the convolutions see, in one direction if the model is causal."""
        frames = self.repeats * (self.kernel - 1) * ((1 << self.blocks) - 1)
        frames = frames if self.causal else frames // 2
        return frames * self.stride_samples + self.filter_samples


class ConvTasNet(SeparationModel[Config]):
    """The Conv-TasNet separator: `[B, C, T] -> [B, S, C, T]`."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        segment_samples = max(config.filter_samples, round(config.segment_s * config.sample_rate))
        self.spec = ModelSpec(
            stems=config.stems,
            sample_rate=config.sample_rate,
            channels=config.channels,
            segment_samples=segment_samples,
            context_samples=min(config.reach_samples, segment_samples // 4),
            hop_samples=config.stride_samples,
            causal=config.causal,
            # Sample t is in no frame that begins later, and a frame ends a filter after it begins.
            latency_samples=config.filter_samples - 1 if config.causal else 0,
        )
        size, stride = config.filter_samples, config.stride_samples
        self.lengths = ValidLengths(minimum=size, depth=1, kernel=size, stride=stride)
        self.encoder = Transform(config)
        self.masker = Masker(config)
        self.decoder = Transform(config)

    def separate(self, mix: Tensor) -> Tensor:
        """Separate; see `SeparationModel.forward`."""
        return self.whole_frames(self._padded(mix))[..., : mix.shape[-1]]

    def whole_frames(self, mix: Tensor) -> Tensor:
        """Separate a mixture whose last frame is complete.

        Shape:
            mix: `[B, C, T]`; returns `[B, S, C, T]`.
        """
        stride = self.config.stride_samples
        frames = F.conv1d(mix, self.encoder.filters, stride=stride)  # [B, N, K], K frames
        masked = self._masked(frames, Memory() if self.config.causal else None)
        stems = F.conv_transpose1d(masked.flatten(0, 1), self.decoder.filters, stride=stride)
        return stems.reshape(-1, len(self.spec.stems), *stems.shape[1:])  # [B, S, C, T]

    def stream_core(self) -> StreamCore | None:
        """Return the steps; see `SeparationModel.stream_core`."""
        size, stride = self.config.filter_samples, self.config.stride_samples
        if not self.config.causal:
            return None
        framing = Framing(size, stride, size, before_samples=0, edges="covered")
        return StreamCore(framing, StreamStep(self, self._step))

    def _step(self, frames: Tensor, memory: Memory) -> tuple[Tensor]:
        """Return the frames of the stems. Shape: `[B, C, K, L] -> [B, S, C, K, L]`."""
        basis = torch.einsum("bckl,ncl->bnk", frames, self.encoder.filters)
        masked = self._masked(basis, memory)
        return (torch.einsum("bsnk,ncl->bsckl", masked, self.decoder.filters),)

    def _masked(self, basis: Tensor, memory: Memory | None) -> Tensor:
        """Return the masked transform. Shape: `[B, N, K] -> [B, S, N, K]`."""
        if self.config.encoder == "relu":
            basis = basis.relu()
        masked: Tensor = self.masker(basis, memory) * basis[:, None]
        return masked

    def core(self) -> Core:
        """Return the whole model but for the padding; see `Core`."""
        return Core(Part(self, self.whole_frames), FrontEnd(lengths=self.lengths))

    def _padded(self, mix: Tensor) -> Tensor:
        """Return the mixture with zeros after it, so that its last frame is complete."""
        return F.pad(mix, (0, self.lengths.above(mix.shape[-1]) - mix.shape[-1]))


class Transform(nn.Module):
    """The filters of the encoder or of the decoder, `[N, C, L]`, under asteroid's name."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        filters = torch.empty(config.filters, config.channels, config.filter_samples)
        self.filterbank = nn.ParameterDict({"_filters": nn.init.xavier_normal_(filters)})

    @property
    def filters(self) -> Tensor:
        """The filters."""
        filters: Tensor = self.filterbank["_filters"]
        return filters


class Masker(nn.Module):
    """From the frames of the mixture to one mask per stem."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.stems = len(config.stems)
        self.activation = config.mask
        self.bottleneck = nn.Sequential(
            Norm(config, config.filters), nn.Conv1d(config.filters, config.bottleneck, 1)
        )
        count = config.repeats * config.blocks
        self.TCN = nn.ModuleList(
            Block(
                config,
                dilation=2 ** (index % config.blocks),
                residual=not config.skip or index < count - 1,
            )
            for index in range(count)
        )
        self.mask_net = nn.Sequential(
            nn.PReLU(),
            nn.Conv1d(config.skip or config.bottleneck, self.stems * config.filters, 1),
        )

    def forward(self, frames: Tensor, memory: Memory | None) -> Tensor:
        """Return the masks. Shape: `[B, N, K] -> [B, S, N, K]`."""
        x = in_turn(self.bottleneck, frames, memory)
        skips = []
        for block in self.TCN:
            residual, skip = block(x, memory)
            if residual is not None:
                x = x + residual
            if skip is not None:
                skips.append(skip)
        scores: Tensor = self.mask_net(sum(skips[1:], skips[0]) if skips else x)
        scores = scores.reshape(len(x), self.stems, -1, x.shape[-1])  # [B, S, N, K]
        if self.activation == "softmax":
            return scores.softmax(1)
        return scores.relu() if self.activation == "relu" else scores.sigmoid()


class Block(nn.Module):
    """Widen, convolve every feature over dilated frames, and narrow to a residual and a skip."""

    def __init__(self, config: Config, *, dilation: int, residual: bool) -> None:
        super().__init__()
        hidden, reach = config.hidden, (config.kernel - 1) * dilation
        convolution: nn.Module = nn.Conv1d(
            hidden,
            hidden,
            config.kernel,
            dilation=dilation,
            padding=0 if config.causal else reach // 2,
            groups=hidden,
        )
        if config.causal:
            convolution = LookingBack(convolution, reach)
        self.shared_block = nn.Sequential(
            nn.Conv1d(config.bottleneck, hidden, 1),
            nn.PReLU(),
            Norm(config, hidden),
            convolution,
            nn.PReLU(),
            Norm(config, hidden),
        )
        self.res_conv = nn.Conv1d(hidden, config.bottleneck, 1) if residual else None
        self.skip_conv = nn.Conv1d(hidden, config.skip, 1) if config.skip else None

    def forward(self, x: Tensor, memory: Memory | None) -> tuple[Tensor | None, Tensor | None]:
        """Return what is added to the block's input, and what to the masks. Shape: `[B, *, K]`."""
        x = in_turn(self.shared_block, x, memory)
        return (
            None if self.res_conv is None else self.res_conv(x),
            None if self.skip_conv is None else self.skip_conv(x),
        )


class LookingBack(Streaming, nn.ModuleList):
    """A convolution without padding, of frames and those before them; asteroid's name has a 0."""

    def __init__(self, convolution: nn.Module, reach: int) -> None:
        super().__init__([convolution])
        self.reach = reach

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Shape: `[B, H, K]`, as the input."""
        assert memory is not None  # a causal model always has one
        y: Tensor = self[0](memory.joined(x, self.reach, 2))
        return y


class Norm(Streaming):
    """Standardise over what `Config.norm` says, then scale and shift each feature."""

    def __init__(self, config: Config, features: int) -> None:
        super().__init__()
        self.kind = config.norm
        self.gamma = nn.Parameter(torch.ones(features))
        self.beta = nn.Parameter(torch.zeros(features))

    def forward(self, x: Tensor, memory: Memory | None) -> Tensor:
        """Shape: `[B, H, K]`, as the input."""
        if self.kind == "global":
            return F.group_norm(x, 1, self.gamma, self.beta, EPSILON)
        if self.kind == "channel":
            variance, mean = torch.var_mean(x, 1, correction=0, keepdim=True)
        else:
            mean, variance = cumulative_moments(x, memory or Memory())
        scaled = (x - mean) * (variance + EPSILON).rsqrt()
        return scaled * self.gamma[:, None] + self.beta[:, None]


def cumulative_moments(x: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
    """Return mean and variance over the features of a frame and of all frames before it.

    The sums are of double precision: in single, a count of frames would stand still after an hour.

    Shape:
        x: `[B, H, K]`; returns `[B, 1, K]` twice.
    """
    ones = torch.ones_like(x[:, :1])
    moments = torch.cat([ones, x.mean(1, keepdim=True), x.square().mean(1, keepdim=True)], 1)
    moments = moments.double()
    sums = memory.recall((len(x), 3, 1), moments) + moments.cumsum(-1)
    memory.keep(sums[..., -1:])
    count, total, power = sums.unbind(1)  # [B, K] each
    mean = total / count
    # Rounding may leave a little less than nothing.
    variance = (power / count - mean * mean).clamp(min=0)
    return mean[:, None].to(x.dtype), variance[:, None].to(x.dtype)
