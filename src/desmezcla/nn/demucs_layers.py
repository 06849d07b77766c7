"""Blocks of the Demucs family: convolutions along time, residual branches, recurrence, attention.

Feature maps are `[B, H, F, T]`, with H features and F rows; on waveforms there is one row. They lie
in memory with the features last, which is what a processor's convolutions are fastest on. Weights
have the names and shapes of the authors' one-dimensional layers.

References:
    Défossez, Usunier, Bottou and Bach, "Music Source Separation in the Waveform Domain", 2019.
    Défossez, "Hybrid Spectrogram and Waveform Source Separation", MDX Workshop at ISMIR 2021.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from desmezcla.nn.modes import only_the_result

HEADS = 4
DECAYS = 4
LSTM_FRAMES = 200
# A score so low that nothing attends to itself.
NEVER = -100.0


class TimeConv(nn.Conv1d):
    """A convolution along time, of each row. Shape: `[B, H, F, T] -> [B, H', F, T']`."""

    def __init__(
        self,
        features: int,
        wanted: int,
        taps: int,
        *,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
    ) -> None:
        super().__init__(features, wanted, taps, stride, padding, dilation)
        self.steps = ((1, stride), (0, padding), (1, dilation))

    def forward(self, x: Tensor) -> Tensor:
        """Convolve."""
        stride, padding, dilation = self.steps
        return F.conv2d(x, self.weight[:, :, None], self.bias, stride, padding, dilation)


class TimeConvTranspose(nn.ConvTranspose1d):
    """A transposed convolution along time. Shape: `[B, H, F, T] -> [B, H', F, T']`."""

    def forward(self, x: Tensor, output_size: list[int] | None = None) -> Tensor:
        """Convolve."""
        return F.conv_transpose2d(x, self.weight[:, :, None], self.bias, (1, self.stride[0]))


def features_last(x: Tensor) -> Tensor:
    """Return a feature map that lies in memory as it should. Shape: `[B, H, F, T]`, the same."""
    return x.contiguous(memory_format=torch.channels_last)


def in_place_of(x: Tensor) -> Tensor | None:
    """Return where to put what x is only needed for: where x is, unless gradients need x later.

    Memory that was just written is in the cache; new memory would have to be brought there. In
    bfloat16 a processor is slower so, though.
    """
    return x if only_the_result() and x.dtype != torch.bfloat16 else None


def gated(x: Tensor, conv: TimeConv | nn.Conv2d, norm: nn.Module) -> Tensor:
    """Return one half of a convolution's features times the sigmoid of the other half.

    Without a normalisation between, each half is a convolution of its own: halves that lie in
    memory in turns, every few values, take a processor several times as long.

    Shape:
        x: `[B, H, F, T]`; conv gives `[B, 2H', F, T]`; returns `[B, H', F, T]`.
    """
    if not isinstance(norm, nn.Identity):
        return F.glu(norm(conv(x)), 1)
    if isinstance(conv, TimeConv):
        weight, padding = conv.weight[:, :, None], conv.steps[1]
    else:
        weight, padding = conv.weight, cast("tuple[int, int]", conv.padding)
    values, gates = weight.chunk(2)
    bias, gates_bias = cast(Tensor, conv.bias).chunk(2)
    gate = F.conv2d(x, gates, gates_bias, padding=padding).sigmoid_()
    made = F.conv2d(x, values, bias, padding=padding)
    return torch.mul(made, gate, out=in_place_of(made))


class MapNorm(nn.GroupNorm):
    """Group normalisation of feature maps. Shape: `[B, H, F, T]`, as the result."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each group of features over all rows and samples."""
        # Where features are last, torch's own takes the variance for a difference of two sums,
        # which costs a digit.
        groups = torch.unflatten(x.float(), 1, (self.num_groups, -1))
        variance, mean = torch.var_mean(groups, (2, 3, 4), correction=0, keepdim=True)
        normal = ((groups - mean) * torch.rsqrt(variance + self.eps)).flatten(1, 2)
        weight, bias = self.weight[:, None, None], self.bias[:, None, None]
        return torch.addcmul(bias, normal, weight).to(x.dtype)


class RowNorm(nn.GroupNorm):
    """Group normalisation in one group, of each row for itself. Shape: `[B, H, F, T]`."""

    def __init__(self, features: int) -> None:
        super().__init__(1, features)

    def forward(self, x: Tensor) -> Tensor:
        """Normalise the axes H and T."""
        rows = x.permute(0, 2, 3, 1)
        shape = rows.shape[2:]
        # A factor for each value of a row, though it depends on H only: that is one pass.
        weight, bias = self.weight.expand(shape), self.bias.expand(shape)
        return F.layer_norm(rows, shape, weight, bias, self.eps).permute(0, 3, 1, 2)


class LayerScale(nn.Module):
    """A factor for each feature, small at first (Touvron et al. 2021)."""

    def __init__(self, features: int, initial: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((features,), initial))

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[..., H]`, as the input."""
        return self.scale * x


@dataclass(frozen=True)
class BranchOptions:
    """What the residual branches of a layer are like.

    Attributes:
        depth: Branches, one after the other; the dilation doubles from each to the next.
        compression: A branch has that many times fewer features than the layer.
        initial_scale: Of what a branch adds.
        lstm: Two recurrent layers in each branch.
        attention: Attention in each branch.
    """

    depth: int
    compression: float
    initial_scale: float
    lstm: bool = False
    attention: bool = False


def check_levels(
    widths: Sequence[int],
    *,
    norm_starts: int,
    norm_groups: int,
    compression: float,
    attention_starts: int,
) -> None:
    """Check that the features of all levels can be grouped as normalisation and attention do.

    Errors:
        ValueError: if they cannot; for the validator of a configuration.
    """
    for index, width in enumerate(widths):
        hidden = int(width / compression)
        if index >= norm_starts - 1 and width % norm_groups:
            raise ValueError(
                f"level {index} has {width} features, which norm_groups={norm_groups} does not "
                "divide; change hidden_channels, growth or norm_starts"
            )
        if hidden < 1 or (index >= attention_starts and hidden % HEADS):
            raise ValueError(
                f"level {index} has {width} features, so its branches have {hidden}, which must be "
                f"1 or more, and a multiple of {HEADS} with attention; change hidden_channels, "
                "growth, dconv_comp or dconv_attn"
            )


class ResidualBranches(nn.Module):
    """Branches that look along time, with few features, and add to what they see."""

    def __init__(self, features: int, options: BranchOptions) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *[Branch(features, options, 2**index) for index in range(options.depth)]
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, F, T]`, as the input."""
        result: Tensor = self.layers(x)
        return result


class Branch(nn.Sequential):
    """One residual branch: its input plus a gated, normalised look along time."""

    def __init__(self, features: int, options: BranchOptions, dilation: int) -> None:
        hidden = int(features / options.compression)
        memory: list[nn.Module] = []
        if options.lstm:
            memory.append(RecurrentMemory(hidden, layers=2, frames=LSTM_FRAMES, skip=True))
        if options.attention:
            memory.append(LocalAttention(hidden))
        super().__init__(
            TimeConv(features, hidden, 3, padding=dilation, dilation=dilation),
            RowNorm(hidden),
            nn.GELU(),
            *memory,
            TimeConv(hidden, 2 * features, 1),
            RowNorm(2 * features),
            nn.GLU(1),
            LayerScale(features, options.initial_scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, F, T]`, as the input."""
        *looks, expand, norm, _, scale = self
        hidden = x
        for look in looks:
            hidden = look(hidden)
        hidden, weight, bias = normalised_expansion(
            hidden, cast(TimeConv, expand), cast(RowNorm, norm)
        )
        factor = cast(LayerScale, scale).scale
        values, gates = weight.chunk(2)
        bias, gates_bias = bias.chunk(2)
        gate = F.conv2d(hidden, gates, gates_bias).sigmoid_()
        made = F.conv2d(hidden, values * factor[:, None, None, None], bias * factor)
        return torch.addcmul(x, made, gate, out=in_place_of(made))


def normalised_expansion(
    hidden: Tensor, expand: TimeConv, norm: RowNorm
) -> tuple[Tensor, Tensor, Tensor]:
    r"""Return a convolution that does what `norm(expand(hidden))` does.

    With y = W h + b, its mean m and deviation s over the features and samples of a row, the
    normalised value is γ (y - m) / s + β = (γ W) (h / s) + (γ b) / s - γ (m / s) + β: one
    convolution of h / s, 1 / s and m / s. Both moments follow from those of h, which has far fewer
    features than y: with the mean k of h over the samples of a row and d = W k + b,

        m = mean of d over the features,   s² = mean of |W (h - k)|² + variance of d.

    So the normalisation passes over the few features, and not over the many.

    Returns:
        The input of the convolution, its weight and its bias.

    Shape:
        hidden: `[B, K, F, T]`; returns `[B, K + 2, F, T]`, `[2H, K + 2, 1, 1]` and `[2H]`.
    """
    with torch.autocast(hidden.device.type, enabled=False):
        h = hidden.permute(0, 2, 3, 1).float()  # [B, F, T, K]
        weight, bias = expand.weight[..., 0], cast(Tensor, expand.bias)
        centre = h.mean(2, keepdim=True)
        offset = F.linear(centre, weight, bias)  # [B, F, 1, 2H]
        spread = h - centre
        gram = weight.transpose(0, 1) @ weight / weight.shape[0]
        power = (spread.transpose(-1, -2) @ spread * gram).sum((2, 3), keepdim=True) / h.shape[2]
        power = power + offset.var(-1, correction=0, keepdim=True)
        gain = torch.rsqrt(power + norm.eps)  # [B, F, 1, 1]
        level = gain * offset.mean(-1, keepdim=True)
        once = torch.cat([gain, level], -1).expand(-1, -1, h.shape[2], -1)
        scaled = torch.cat([h * gain, once], -1)  # [B, F, T, K + 2]
        extended = torch.cat([weight, bias[:, None], -torch.ones_like(bias)[:, None]], 1)
        extended = extended * norm.weight[:, None]
    return scaled.permute(0, 3, 1, 2).to(hidden.dtype), extended[..., None, None], norm.bias


class RecurrentMemory(nn.Module):
    """LSTM layers in both directions, and a dense layer back to the features of the input.

    Args:
        features: H.
        layers: Of the LSTM.
        frames: Longer inputs are cut into pieces of that many samples that overlap by half; None
            for the whole in one piece.
        skip: Add the input.
    """

    def __init__(
        self, features: int, *, layers: int, frames: int | None = None, skip: bool = False
    ) -> None:
        super().__init__()
        self.frames = frames
        self.skip = skip
        self.lstm = nn.LSTM(features, features, layers, bidirectional=True)
        self.linear = nn.Linear(2 * features, features)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, F, T]`, as the input."""
        batch, features, rows, length = x.shape
        sequences = x.permute(3, 0, 2, 1).reshape(length, batch * rows, features)
        if self.frames is not None and length > self.frames:
            y = self._in_pieces(sequences, self.frames)
        else:
            y = self._recurrent(sequences)
        y = y.view(length, batch, rows, features).permute(1, 3, 2, 0)
        return x + y if self.skip else y

    def _recurrent(self, sequences: Tensor) -> Tensor:
        """Shape: `[T, N, H]`, as the input."""
        result: Tensor = self.linear(self.lstm(sequences)[0])
        return result

    def _in_pieces(self, sequences: Tensor, frames: int) -> Tensor:
        """Return the middle of each piece, and the ends of the first and the last one.

        Shape:
            sequences: `[T, N, H]`, as the result.
        """
        length, count, features = sequences.shape
        hop, edge = frames // 2, frames // 4
        pieces = -(-length // hop)
        padded = F.pad(sequences, (0, 0, 0, 0, 0, (pieces - 1) * hop + frames - length))
        cut = padded.unfold(0, frames, hop)  # [P, N, H, frames]
        cut = cut.permute(3, 0, 1, 2).reshape(frames, pieces * count, features)
        y = self._recurrent(cut).view(frames, pieces, count, features).transpose(0, 1)
        middle = y[:, edge : frames - edge].flatten(0, 1)  # [P·hop, N, H]
        return torch.cat([y[0, :edge], middle, y[-1, frames - edge :]])[:length]


class LocalAttention(nn.Module):
    """Attention along time that a learned, input-dependent decay keeps near.

    The score of a sample at distance d is that of its content less a non-negative multiple of d.
    """

    def __init__(self, features: int) -> None:
        super().__init__()
        self.content = TimeConv(features, features, 1)
        self.query = TimeConv(features, features, 1)
        self.key = TimeConv(features, features, 1)
        self.query_decay = TimeConv(features, HEADS * DECAYS, 1)
        # Next to no decay: at first the whole is seen.
        with torch.no_grad():
            self.query_decay.weight.mul_(0.01)
            cast(Tensor, self.query_decay.bias).fill_(-2.0)
        self.proj = TimeConv(features, features, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Shape: `[B, H, F, T]`, as the input."""
        q, k, v = (_heads(part(x)) for part in (self.query, self.key, self.content))
        decay = torch.sigmoid(_heads(self.query_decay(x))) / 2  # [B·F, heads, T, decays]
        rates = torch.arange(1, DECAYS + 1, device=x.device, dtype=x.dtype) / DECAYS**0.5
        position = torch.arange(x.shape[-1], device=x.device)
        distance = (position[:, None] - position).abs()
        bias = -(decay * rates).sum(-1, keepdim=True) * distance  # [B·F, heads, T, T]
        bias = bias.masked_fill(distance == 0, NEVER).to(q.dtype)
        seen = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        seen = torch.unflatten(seen, 0, (x.shape[0], x.shape[2]))  # [B, F, heads, T, h]
        seen = seen.permute(0, 2, 4, 1, 3).flatten(1, 2)  # [B, H, F, T]
        result: Tensor = x + self.proj(seen)
        return result


def _heads(x: Tensor) -> Tensor:
    """Shape: `[B, H, F, T] -> [B · F, heads, T, H / heads]`."""
    return torch.unflatten(x, 1, (HEADS, -1)).permute(0, 3, 1, 4, 2).flatten(0, 1)


def rescale_weights(module: nn.Module, reference: float) -> None:
    """Bring the deviation of all convolutions' initial weights nearer to a reference, in place."""
    convolutions = (nn.Conv1d, nn.Conv2d, nn.ConvTranspose1d, nn.ConvTranspose2d)
    with torch.no_grad():
        for part in module.modules():
            if isinstance(part, convolutions):
                factor = (reference / part.weight.std()) ** 0.5
                part.weight.mul_(factor)
                if part.bias is not None:
                    part.bias.mul_(factor)


def deviation(x: Tensor, axes: tuple[int, ...]) -> Tensor:
    """Return the standard deviation over some axes, which are kept; 0 for a single value."""
    count = 1
    for axis in axes:
        count *= x.shape[axis]
    return x.std(axes, correction=min(1, count - 1), keepdim=True)
