"""A blind report as one HTML page with everything in it: no script, and nothing from elsewhere."""

import html
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from desmezcla.audio.files import write_file
from desmezcla.evaluation.blind.report import WINDOW_S, BlindReport, SignalReport
from desmezcla.evaluation.blind.wording import COLUMNS, LEGEND, cells, heading, sum_line

_STYLE = """
:root{color-scheme:light dark;--back:#fff;--text:#1b1f24;--soft:#59636e;--line:#d1d9e0;
--card:#f6f8fa;--fill:#0969da;--song:#afb8c1;--bad:#9a6700;--heat:9,105,218}
@media(prefers-color-scheme:dark){:root{--back:#0d1117;--text:#e6edf3;--soft:#9198a1;
--line:#3d444d;--card:#161b22;--fill:#58a6ff;--song:#4d5560;--bad:#d29922;--heat:88,166,255}}
*{box-sizing:border-box}
body{margin:0;background:var(--back);color:var(--text);font:16px/1.5 system-ui,sans-serif}
main{max-width:72rem;margin:auto;padding:1rem}
h1{margin:.5rem 0 0;overflow-wrap:anywhere}h2{margin:2rem 0 .5rem}
.findings{list-style:none;padding:0;margin:0;display:grid;gap:.4rem}
.findings li{background:var(--card);border:1px solid var(--line);border-radius:.4rem;
border-left:.4rem solid var(--soft);padding:.35rem .8rem;overflow-wrap:anywhere}
.findings .warning{border-left-color:var(--bad)}.warning b{color:var(--bad)}
figure{margin:0 0 .6rem}figcaption{font-weight:600}
figure svg{width:100%;height:6rem;display:block}
.levels .song{fill:var(--song)}.levels .stem{fill:var(--fill);fill-opacity:.85}
.levels .grid{stroke:var(--line);stroke-width:1;vector-effect:non-scaling-stroke}
.plot{display:grid;grid-template-columns:4.5rem minmax(0,1fr)}
.scale{display:flex;flex-direction:column;justify-content:space-between;color:var(--soft);
font-size:.75rem;line-height:1;text-align:right;padding-right:.4rem}
.time{grid-column:2;display:flex;justify-content:space-between;color:var(--soft);font-size:.75rem}
.wide{overflow-x:auto}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:right;padding:.15rem .5rem;border-bottom:1px solid var(--line);font-weight:400;
white-space:nowrap}
thead th{font-weight:600}tbody th,thead th:first-child{text-align:left}
.note{color:var(--soft);font-size:.9rem;max-width:60rem}
"""

# What is drawn of a level: softer than that, nothing is heard in a room.
_LOW_DB, _HIGH_DB = -70.0, 0.0
# And of the sum's quality.
_LOW_SUM_DB, _HIGH_SUM_DB = 0.0, 60.0
_COLUMNS, _HEIGHT = 800, 100


def blind_html(report: BlindReport, path: Path) -> None:
    """Write the report as a page, which appears when it is complete.

    Errors:
        AudioFileError: if it cannot be written.
    """
    write_file(path, page(report).encode())


def page(report: BlindReport) -> str:
    """Return the page as text."""
    title = html.escape(report.song or "A song")
    parts = [
        f"<h1>{title}</h1><p>{html.escape(heading(report))}</p>",
        _findings(report),
        _levels(report),
        _measures(report),
        _following(report),
    ]
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}: stems without references</title><style>{_STYLE}</style></head>"
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def _findings(report: BlindReport) -> str:
    # The severity also stands there as a word: colours alone do not reach everybody.
    items = "".join(
        f'<li class="{finding.severity}"><b>{finding.severity}</b>: {html.escape(finding.text)}'
        for finding in report.findings
    )
    return f"<h2>Findings</h2><ul class=findings>{items}</ul>"


def _levels(report: BlindReport) -> str:
    song = report.mixture.levels_dbfs
    charts = [
        _chart(name, [("song", song), ("stem", stem.levels_dbfs)], (_LOW_DB, _HIGH_DB), "dBFS")
        for name, stem in report.stems.items()
    ]
    sums = _chart(
        "Song relative to song less stems",
        [("stem", report.sum.frames_db)],
        (_LOW_SUM_DB, _HIGH_SUM_DB),
        "dB",
    )
    return (
        "<h2>Energy over time</h2><p class=note>Level of each stem, in colour, before that of the "
        f"song, in grey, every {WINDOW_S:g} s.</p><div class=levels>{''.join(charts)}</div>"
        f"<h2>How the stems add up</h2><p>{html.escape(sum_line(report))}</p>"
        f"<p class=note>The higher, the nearer is the sum of the stems to the song.</p>"
        f"<div class=levels>{sums}</div>"
    )


def _chart(
    name: str,
    areas: Sequence[tuple[str, Sequence[float]]],
    limits: tuple[float, float],
    unit: str,
) -> str:
    """Return areas below curves over the whole time."""
    low, high = limits
    last = np.array(areas[-1][1])
    label = f"{name}, {unit} over time: from {last.min():.0f} to {last.max():.0f}"
    middle = (low + high) / 2
    scale = "".join(f"<span>{value:g} {unit}</span>" for value in (high, middle, low))
    times = "".join(f"<span>{_time(len(last) * WINDOW_S * part)}</span>" for part in (0, 0.5, 1))
    paths = "".join(f'<path class="{kind}" d="{_area(values, limits)}"/>' for kind, values in areas)
    return (
        f"<figure><figcaption>{html.escape(name)}</figcaption>"
        f'<div class=plot><div class=scale>{scale}</div><svg viewBox="0 0 {_COLUMNS} {_HEIGHT}" '
        f'preserveAspectRatio="none" role="img" aria-label="{html.escape(label, quote=True)}">'
        f'{paths}<path class="grid" d="M0 {_HEIGHT / 2}H{_COLUMNS}M0 {_HEIGHT}H{_COLUMNS}"/></svg>'
        f"<div class=time>{times}</div></div></figure>"
    )


def _area(values: Sequence[float], limits: tuple[float, float]) -> str:
    """Return the path of an area with a step for each value, or for the highest of neighbours."""
    parts = np.array_split(np.array(values), min(len(values), _COLUMNS))
    highest = np.array([part.max() for part in parts])
    low, high = limits
    heights = (1 - (np.clip(highest, low, high) - low) / (high - low)) * _HEIGHT
    edges = np.linspace(0, _COLUMNS, len(parts) + 1)
    steps = "".join(f"V{y:.1f}H{x:.1f}" for y, x in zip(heights, edges[1:], strict=True))
    return f"M0 {_HEIGHT}{steps}V{_HEIGHT}Z"


def _measures(report: BlindReport) -> str:
    signals: dict[str, SignalReport] = {"mixture": report.mixture, **report.stems}
    head = "".join(f'<th scope="col">{column}</th>' for column in ("", *COLUMNS))
    rows = "".join(
        f'<tr><th scope="row">{html.escape(name)}</th>'
        f"{''.join(f'<td>{html.escape(cell)}</td>' for cell in cells(signal))}</tr>"
        for name, signal in signals.items()
    )
    return (
        f"<h2>Measures</h2><div class=wide><table><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div><p class=note>{html.escape(LEGEND)}</p>"
    )


def _following(report: BlindReport) -> str:
    names = list(report.stems)
    if len(names) < 2 or not any(stem.follows for stem in report.stems.values()):
        return ""
    head = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in ("", *names, "the rest"))
    rows = []
    for name, stem in report.stems.items():
        parts = [None if other == name else stem.follows[other] for other in names]
        body = "".join(_heat(part) for part in [*parts, stem.follows_rest])
        rows.append(f'<tr><th scope="row">{html.escape(name)}</th>{body}</tr>')
    return (
        "<h2>Which stem follows which</h2><p class=note>How much of the changes of a stem (row), "
        "frequency by frequency, another one (column) explains. Separate instruments explain "
        "little of each other; the same sound in two stems, a lot.</p><div class=wide><table>"
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _heat(part: float | None) -> str:
    if part is None:
        return "<td>–</td>"
    return f'<td style="background:rgba(var(--heat),{part * 0.6:.2f})">{part:.2f}</td>'


def _time(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}:{rest:04.1f}"
