"""Charts as text for an HTML page: lines in SVG, and rows of colours as tiny images."""

import base64
import html
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_WIDTH, _HEIGHT = 480, 240
_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 28, 12, 30
_POINTS = 400
_COLUMNS = 160
# From dark blue by green to yellow, ever lighter, so that it also reads without colours.
_COLOURS = np.array([[52, 24, 92], [38, 84, 140], [28, 140, 136], [110, 196, 96], [250, 230, 60]])


@dataclass(frozen=True)
class Series:
    """A line of a chart; where y is not finite, the line has a gap."""

    name: str
    x: Sequence[float] | Values
    y: Sequence[float] | Values


def line_chart(title: str, series: Sequence[Series], *, log: bool = False) -> str:
    """Return a figure with lines over the steps.

    Args:
        title: What is drawn, with its unit.
        series: At most six lines differ in their looks.
        log: A logarithmic scale; what is not positive is left out.
    """
    lines = [_clean(line, log=log) for line in series]
    lines = [line for line in lines if np.isfinite(line.y).any()]
    if not lines:
        return _figure(title, "<p>Nothing to show yet.</p>", [])
    low_x, high_x = _range(np.concatenate([np.asarray(line.x, np.float64) for line in lines]))
    y = np.concatenate([np.asarray(line.y, np.float64) for line in lines])
    low_y, high_y = _range(y[np.isfinite(y)])
    parts = []
    for value in _ticks(low_y, high_y):
        at = _TOP + (high_y - value) / (high_y - low_y) * (_HEIGHT - _TOP - _BOTTOM)
        text = _number(10**value if log else value)
        parts.append(
            f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{at:.1f}" y2="{at:.1f}"/>'
        )
        parts.append(f'<text x="{_LEFT - 6}" y="{at + 5:.1f}" text-anchor="end">{text}</text>')
    for value in _ticks(low_x, high_x):
        at = _LEFT + (value - low_x) / (high_x - low_x) * (_WIDTH - _LEFT - _RIGHT)
        parts.append(
            f'<text x="{at:.1f}" y="{_HEIGHT - 8}" text-anchor="middle">{_number(value)}</text>'
        )
    for place, line in enumerate(lines):
        path = _path(line, (low_x, high_x), (low_y, high_y))
        parts.append(f'<path class="line s{place % 6}" d="{path}"/>')
    ends = "; ".join(_told(line, log=log) for line in lines)
    label = html.escape(f"{title}, over the steps. {ends}", quote=True)
    box = f'viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{label}"'
    return _figure(title, f"<svg {box}>{''.join(parts)}</svg>", [line.name for line in lines])


def heat_table(title: str, note: str, rows: dict[str, Values], *, log: bool = False) -> str:
    """Return a table with a row of colours for each name, and its last value.

    Args:
        title: What is shown.
        note: What to look for.
        rows: Values over the steps; rows without a finite one are left out.
        log: Colours by the logarithm.
    """
    scaled = {name: _scale(values, log=log) for name, values in rows.items()}
    shown = {name: values for name, values in scaled.items() if np.isfinite(values).any()}
    if not shown:
        return ""
    every = np.concatenate(list(shown.values()))
    every = every[np.isfinite(every)]
    low, high = float(every.min()), float(every.max())
    if not log:
        low, high = min(low, 0.0), max(high, 1e-12)
    body = []
    for name, values in shown.items():
        finite = rows[name][np.isfinite(rows[name])]
        last = _number(float(finite[-1]))
        alt = f"from {_number(float(finite[0]))} to {last}, at most {_number(float(finite.max()))}"
        image = strip((_columns(values) - low) / max(high - low, 1e-12))
        body.append(
            f'<tr><th scope="row">{html.escape(name)}</th>'
            f'<td class="strip"><img src="{image}" alt="{alt}"></td><td>{last}</td></tr>'
        )
    ends = [_number(10**v if log else v) for v in (low, high)]
    scale = strip(np.linspace(0, 1, 32))
    return (
        f"<section><h3>{html.escape(title)}</h3><p>{html.escape(note)}</p>"
        f'<p class="scale">{ends[0]} <img src="{scale}" alt="scale of colours"> {ends[1]}</p>'
        '<div class="wide"><table class="heat"><thead><tr><th scope="col">layer</th>'
        '<th scope="col">first step to last</th><th scope="col">last</th></tr></thead>'
        f"<tbody>{''.join(body)}</tbody></table></div></section>"
    )


def strip(values: Values) -> str:
    """Return a row of colours as the address of an image, one pixel for each value.

    Args:
        values: From 0 to 1; what is not finite is transparent.
    """
    finite = np.isfinite(values)
    places = np.clip(np.where(finite, values, 0.0), 0, 1) * (len(_COLOURS) - 1)
    knots = np.arange(len(_COLOURS))
    colours = [np.interp(places, knots, _COLOURS[:, channel]) for channel in range(3)]
    pixels = np.stack([*colours, 255.0 * finite], axis=1).round().astype(np.uint8)
    return f"data:image/png;base64,{base64.b64encode(_png_row(pixels)).decode()}"


def _png_row(pixels: NDArray[np.uint8]) -> bytes:
    """Return a PNG file with one row of pixels `[n, 4]`."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", len(pixels), 1, 8, 6, 0, 0, 0)
    data = zlib.compress(b"\0" + pixels.tobytes(), 9)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")
    )


def _figure(title: str, content: str, names: Sequence[str]) -> str:
    keys = "".join(
        '<li><svg viewBox="0 0 24 8" aria-hidden="true">'
        f'<path class="line s{i % 6}" d="M0 4H24"/></svg>{html.escape(name)}</li>'
        for i, name in enumerate(names)
    )
    legend = f"<ul class=legend>{keys}</ul>" if len(names) > 1 else ""
    return f"<figure><figcaption>{html.escape(title)}</figcaption>{content}{legend}</figure>"


def _clean(line: Series, *, log: bool) -> Series:
    """Return a line with at most so many points as can be seen."""
    x, y = np.asarray(line.x, np.float64), _scale(np.asarray(line.y, np.float64), log=log)
    return Series(line.name, _columns(x, _POINTS), _columns(y, _POINTS))


def _scale(values: Values, *, log: bool) -> Values:
    if not log:
        return values
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.log10(values)
    return np.where(np.isfinite(scaled), scaled, np.nan)


def _columns(values: Values, count: int = _COLUMNS) -> Values:
    """Return the means of neighbours, so many that `count` are left."""
    if len(values) <= count:
        return values
    parts = np.array_split(values, count)
    finite = [part[np.isfinite(part)] for part in parts]
    return np.array([part.mean() if len(part) else np.nan for part in finite])


def _range(values: Values) -> tuple[float, float]:
    low, high = float(values.min()), float(values.max())
    if high > low:
        return low, high
    margin = abs(low) / 10 or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float) -> list[float]:
    """Return three to seven round numbers in a range."""
    rough = (high - low) / 5
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def _path(line: Series, x_range: tuple[float, float], y_range: tuple[float, float]) -> str:
    x = np.interp(line.x, x_range, (_LEFT, _WIDTH - _RIGHT))
    y = np.interp(line.y, y_range, (_HEIGHT - _BOTTOM, _TOP))
    parts, pen = [], "M"
    for across, down, value in zip(x, y, np.asarray(line.y), strict=True):
        if not np.isfinite(value):
            pen = "M"
            continue
        parts.append(f"{pen}{across:.1f} {down:.1f}")
        pen = "L"
    # A line of one point shows only if it goes somewhere.
    return "".join(parts) + ("h0.1" if len(parts) == 1 else "")


def _told(line: Series, *, log: bool) -> str:
    y = np.asarray(line.y, np.float64)
    finite = y[np.isfinite(y)]
    first, last = (10 ** float(v) if log else float(v) for v in (finite[0], finite[-1]))
    return f"{line.name}: from {_number(first)} to {_number(last)}"


def _number(value: float) -> str:
    """Return a number as people read it.

    >>> _number(0.00012345), _number(12000.0), _number(0.0)
    ('1.23e-4', '12000', '0')
    """
    if value and not 1e-3 <= abs(value) < 1e6:
        digits, _, power = f"{value:.2e}".partition("e")
        return f"{float(digits):g}e{int(power)}"
    return f"{value:.6g}" if abs(value) >= 1000 else f"{value:.4g}"
