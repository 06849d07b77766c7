"""A page to listen to songs and their stems: one file, and compressed audio beside it."""

import base64
import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import yaml

from desmezcla.audio.files import write_error
from desmezcla.audio.formats import writable_rate
from desmezcla.audio.reader import read_audio
from desmezcla.audio.resample import resample
from desmezcla.audio.writer import AudioWriter
from desmezcla.datasets.render.preview_images import spectrogram_png
from desmezcla.errors import DatasetError

_NAMES = ("mixture", "vocals", "drums", "bass", "other")
_BITRATE = 128_000


def write_preview(
    folder: Path,
    out: Path,
    *,
    most: int = 12,
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Write a page with players, spectrograms and facts of the songs of a folder.

    The audio is coded again, as MP3, into a folder beside the page, which is named like it; the
    page needs nothing else, and no network.

    Args:
        folder: Has songs in `SONG/` or `SPLIT/SONG/`, as `render_dataset` writes them.
        out: Where the page goes, for instance `preview.html`.
        most: How many songs are shown; they are spread over all.
        progress: Called after each song with its name, how many are done, and how many there are.

    Errors:
        DatasetError: if there is no song.
        AudioFileError: if a file cannot be read or written.
    """
    songs = _songs(folder)
    if not songs:
        raise DatasetError(
            f"folder={str(folder)!r} has no songs; name one with TRACK/mixture.wav in it"
        )
    step = -(-len(songs) // most)
    shown = songs[::step]
    files = out.with_name(f"{out.stem}_files")
    entries = []
    for number, song in enumerate(shown, 1):
        entries.append(_song(song, files / song.name, number))
        if progress:
            progress(song.name, number, len(shown))
    page = _PAGE.format(
        title=html.escape(folder.resolve().name),
        count=f"{len(shown)} of {len(songs)} songs" if step > 1 else f"{len(songs)} songs",
        songs="\n".join(entries),
    )
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(page, encoding="utf-8")
    except OSError as error:
        raise write_error(out, error) from error
    return out


def _songs(folder: Path) -> list[Path]:
    found = [
        path.parent
        for pattern in ("*/mixture.wav", "*/*/mixture.wav")
        for path in folder.glob(pattern)
    ]
    return sorted(song for song in found if not song.name.startswith("."))


def _song(song: Path, files: Path, number: int) -> str:
    facts = _facts(song / "song.yaml")
    rows = [
        _row(name, song / f"{name}.wav", files / f"{name}.mp3", facts)
        for name in _NAMES
        if (song / f"{name}.wav").is_file()
    ]
    return _SONG.format(
        number=number,
        name=html.escape(song.name),
        facts=_description(facts),
        sections=_form(facts.get("sections", [])),
        rows="\n".join(rows),
        parts=html.escape(", ".join(f"{p['name']} ({p['instrument']})" for p in _parts(facts))),
    )


def _row(name: str, source: Path, target: Path, facts: dict[str, Any]) -> str:
    audio, sample_rate = read_audio(source)
    rate = writable_rate("mp3", sample_rate)
    with AudioWriter(
        target, sample_rate=rate, channels=len(audio), format="mp3", bitrate=_BITRATE
    ) as writer:
        writer.write(resample(audio, sample_rate, rate))
    address = "/".join(target.parts[-3:])
    loudness = facts.get("loudness_lufs", {}).get(name)
    image = base64.b64encode(spectrogram_png(audio, sample_rate)).decode()
    return _ROW.format(
        name=name,
        level="" if loudness is None or loudness < -100 else f"{loudness:.1f} LUFS",
        address=quote(address),
        image=image,
    )


def _facts(path: Path) -> dict[str, Any]:
    try:
        facts = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, yaml.YAMLError) as error:
        raise DatasetError(
            f"{str(path)!r} cannot be read: {error}; render the song anew"
        ) from error
    return facts if isinstance(facts, dict) else {}


def _parts(facts: dict[str, Any]) -> Sequence[dict[str, Any]]:
    parts = facts.get("parts", [])
    return [part for part in parts if part.get("events")]


def _description(facts: dict[str, Any]) -> str:
    if not facts:
        return ""
    words = (
        f"{facts['style']}",
        f"{facts['tempo_bpm']:g} bpm",
        f"{facts['tonic']} {facts['mode']}",
        f"{facts['duration_s'] / 60:.0f}:{facts['duration_s'] % 60:02.0f}",
        f"peak {facts['peak_dbfs']:g} dBFS",
        f"seed {facts['seed']}",
    )
    return html.escape(" · ".join(words))


def _form(sections: Sequence[dict[str, Any]]) -> str:
    """Return the sections as a row of boxes, as wide as they are long."""
    return "".join(
        f'<span style="flex:{max(section["duration_s"], 0.1):g}">{html.escape(section["kind"])}'
        "</span>"
        for section in sections
    )


_ROW = """\
<div class="stem">
<div class="head"><h3>{name}</h3><span>{level}</span></div>
<img alt="Spectrogram of {name}, 40 Hz at the bottom" src="data:image/png;base64,{image}">
<audio controls preload="none" src="{address}" aria-label="{name}"></audio>
</div>"""

_SONG = """\
<section aria-labelledby="song{number}">
<h2 id="song{number}">{name}</h2>
<p>{facts}</p>
<div class="form" aria-hidden="true">{sections}</div>
{rows}
<details><summary>Parts</summary><p>{parts}</p></details>
</section>"""

# Braces that are not for `format` are doubled.
_PAGE = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}: rendered songs</title>
<style>
:root {{ color-scheme: light dark; --line: #8886; --soft: #666; --box: #8882; }}
@media (prefers-color-scheme: dark) {{ :root {{ --soft: #aaa; }} }}
body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 0 auto; padding: 1rem; }}
h1 {{ margin-bottom: 0; }}
h2, h3 {{ margin: 0; overflow-wrap: anywhere; }}
h3 {{ font-size: 1rem; }}
p {{ color: var(--soft); margin: .25rem 0 .75rem; }}
section {{ border-top: 1px solid var(--line); padding: 1.25rem 0; }}
.head {{ display: flex; justify-content: space-between; color: var(--soft); }}
.head h3 {{ color: CanvasText; }}
.stem {{ margin: .9rem 0; }}
.stem img {{ display: block; width: 100%; height: 7rem; border-radius: .3rem; }}
.stem audio {{ display: block; width: 100%; margin-top: .3rem; }}
.form {{ display: flex; gap: 2px; font-size: .7rem; }}
.form span {{ background: var(--box); overflow: hidden; text-overflow: ellipsis; min-width: 0;
  white-space: nowrap; padding: .1rem .2rem; border-radius: .2rem; }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{count}. Switching from one player to another of the same song goes on at the same place.</p>
{songs}
<script>
const players = [...document.querySelectorAll("audio")];
let last = null;
for (const player of players) player.addEventListener("play", () => {{
  if (last && last !== player) {{
    last.pause();
    if (last.closest("section") === player.closest("section"))
      player.currentTime = last.currentTime;
  }}
  last = player;
}});
</script>
</body>
</html>
"""
