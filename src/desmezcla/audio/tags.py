"""Tags and cover art: read from one file, written to another, whatever their formats.

A tag is never worth a failed separation: what cannot be read or written is left out with a warning.
"""
# mutagen's functions carry no types.
# mypy: disable-error-code="no-untyped-call"

import base64
import logging
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import mutagen
from mutagen import id3
from mutagen.flac import FLAC, Picture
from mutagen.mp4 import MP4, MP4Cover, MP4FreeForm, MP4Tags
from mutagen.oggflac import OggFLAC
from mutagen.oggopus import OggOpus
from mutagen.oggvorbis import OggVorbis
from mutagen.wave import WAVE

from desmezcla.audio.formats import find_format, format_of_path

_log = logging.getLogger(__name__)

# What is copied, by the names of Vorbis comments: the ID3 frame and the MP4 atom of each.
# Loudness (ReplayGain) and identities of the recording are not: they are wrong for a stem.
_FIELDS: dict[str, tuple[str, str]] = {
    "title": ("TIT2", "\xa9nam"),
    "artist": ("TPE1", "\xa9ART"),
    "album": ("TALB", "\xa9alb"),
    "albumartist": ("TPE2", "aART"),
    "composer": ("TCOM", "\xa9wrt"),
    "date": ("TDRC", "\xa9day"),
    "genre": ("TCON", "\xa9gen"),
    "tracknumber": ("TRCK", "trkn"),
    "discnumber": ("TPOS", "disk"),
    "comment": ("COMM", "\xa9cmt"),
    "bpm": ("TBPM", "tmpo"),
    "initialkey": ("TKEY", "----:com.apple.iTunes:initialkey"),
    "isrc": ("TSRC", "----:com.apple.iTunes:ISRC"),
    "copyright": ("TCOP", "cprt"),
    "organization": ("TPUB", "----:com.apple.iTunes:LABEL"),
}
_FREE_FORM = "----:com.apple.iTunes:"

# Other names that programs give to the same fields in Vorbis comments.
_SYNONYMS: dict[str, tuple[str, ...]] = {
    "albumartist": ("album artist", "album_artist"),
    "date": ("year",),
    "comment": ("description",),
    "bpm": ("tempo",),
    "initialkey": ("key",),
    "organization": ("label", "publisher"),
}

_MAX_VALUES = 32
_MAX_TEXT = 20_000
# A picture block of FLAC holds at most 2^24 bytes.
_MAX_COVER_BYTES = 2**24 - 2**16
_MAX_RIFF_BYTES = 2**32 - 1
_FRONT_COVER = 3


@dataclass(frozen=True)
class Cover:
    """A picture in a file: its bytes and their type, for example "image/jpeg"."""

    data: bytes
    mime: str


@dataclass(frozen=True)
class Tags:
    """The tags of a file.

    Attributes:
        fields: Values by the name of their Vorbis comment, in lower case: title, artist, album,
            albumartist, composer, date, genre, tracknumber ("3" or "3/12"), discnumber, comment,
            bpm, initialkey, isrc, copyright, organization.
        cover: The front cover.
    """

    fields: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cover: Cover | None = None

    def for_stem(self, stem: str) -> "Tags":
        """Return the tags of one stem: "Song" becomes "Song (vocals)"."""
        if "title" not in self.fields:
            return self
        titles = tuple(f"{title} ({stem})" for title in self.fields["title"])
        return replace(self, fields={**self.fields, "title": titles})

    def with_fields(self, extra: Mapping[str, str]) -> "Tags":
        """Return the tags with some fields added, or replaced."""
        added = {key.lower(): (value,) for key, value in extra.items()}
        return replace(self, fields={**self.fields, **added})


def copy_tags(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    stem: str | None = None,
    extra: Mapping[str, str] | None = None,
) -> None:
    """Copy tags and cover from one file to another.

    Args:
        source: Any file, with or without tags.
        target: A file that `AudioWriter` wrote, with an ending that tells its format.
        stem: Name to append to the title.
        extra: Further fields; they replace those of the source.

    Errors:
        ParameterError: if the ending of `target` stands for no format.
        OSError: if `target` cannot be written.
    """
    tags = read_tags(source)
    if stem is not None:
        tags = tags.for_stem(stem)
    target = Path(target)
    write_tags(target, tags.with_fields(extra or {}), format=format_of_path(target).name)


def read_tags(path: str | os.PathLike[str]) -> Tags:
    """Read the tags of a file; those of a file that has none, or broken ones, are empty."""
    try:
        file = mutagen.File(os.fspath(path))
        if file is None or file.tags is None:
            return Tags()
        if isinstance(file.tags, id3.ID3):
            found, cover = _from_id3(file.tags)
        elif isinstance(file.tags, MP4Tags):
            found, cover = _from_mp4(file.tags)
        elif isinstance(file, FLAC | OggFLAC | OggOpus | OggVorbis):
            found, cover = _from_vorbis(file)
        else:
            return Tags()
        fields = {key: _cleaned(values) for key, values in found.items()}
        if cover is not None and not 0 < len(cover.data) <= _MAX_COVER_BYTES:
            _log.warning("the cover of %r is not copied: it is too large", os.fspath(path))
            cover = None
        return Tags({key: values for key, values in fields.items() if values}, cover)
    except Exception as error:  # whatever a hostile file makes a parser raise
        _log.warning("the tags of %r cannot be read: %s", os.fspath(path), error)
        return Tags()


def write_tags(path: Path, tags: Tags, *, format: str) -> None:
    """Write tags into a complete file that has none.

    Args:
        path: The file; its name says nothing about the format.
        tags: What to write.
        format: A name in `FORMATS`.

    Errors:
        OSError: if the file cannot be written.
    """
    if not tags.fields and tags.cover is None:
        return
    name = find_format(format).name
    writers = {"mp3": _to_mp3, "wav": _to_wav, "flac": _to_flac, "ogg": _to_ogg, "opus": _to_ogg}
    try:
        writers.get(name, _to_mp4)(path, tags)
    except OSError:
        raise
    except Exception as error:
        if isinstance(error.__context__, OSError):  # mutagen wraps some of them
            raise error.__context__ from error
        _log.warning("the tags of %r cannot be written: %s", str(path), error)


def _cleaned(values: Iterable[Any]) -> tuple[str, ...]:
    texts = (str(value).replace("\0", " ").strip()[:_MAX_TEXT] for value in values)
    encodable = (text.encode("utf-8", "replace").decode() for text in texts if text)
    return tuple(encodable)[:_MAX_VALUES]


def _from_id3(tags: id3.ID3) -> tuple[dict[str, list[Any]], Cover | None]:
    found: dict[str, list[Any]] = {}
    for key, (name, _) in _FIELDS.items():
        frames = tags.getall(name)
        # Players keep their own notes in comments that have a description.
        if name == "COMM":
            frames = [frame for frame in frames if not frame.desc]
        if frames:
            found[key] = list(frames[0].genres if name == "TCON" else frames[0].text)
    # A picture can also be an address, which is not followed.
    pictures = [picture for picture in tags.getall("APIC") if picture.mime != "-->"]
    pictures.sort(key=lambda picture: picture.type != _FRONT_COVER)
    return found, Cover(pictures[0].data, pictures[0].mime) if pictures else None


def _from_vorbis(file: Any) -> tuple[dict[str, list[Any]], Cover | None]:
    found: dict[str, list[Any]] = {}
    for key in _FIELDS:
        for name in (key, *_SYNONYMS.get(key, ())):
            if file.tags.get(name):
                found[key] = file.tags[name]
                break
    for key, totals in (
        ("tracknumber", ("tracktotal", "totaltracks")),
        ("discnumber", ("disctotal", "totaldiscs")),
    ):
        total = next((file.tags[name][0] for name in totals if file.tags.get(name)), None)
        if key in found and total is not None and "/" not in found[key][0]:
            found[key] = [f"{found[key][0]}/{total}"]
    pictures = list(getattr(file, "pictures", ()))
    for block in file.tags.get("metadata_block_picture", ()):
        pictures.append(Picture(base64.b64decode(block)))
    pictures = [picture for picture in pictures if picture.mime != "-->"]
    pictures.sort(key=lambda picture: picture.type != _FRONT_COVER)
    return found, Cover(pictures[0].data, pictures[0].mime) if pictures else None


def _from_mp4(tags: MP4Tags) -> tuple[dict[str, list[Any]], Cover | None]:
    found: dict[str, list[Any]] = {}
    for key, (_, name) in _FIELDS.items():
        values = tags.get(name) or []
        if name in ("trkn", "disk"):
            values = [f"{n}/{total}" if total else n for n, total in values if n]
        elif name.startswith(_FREE_FORM):
            values = [bytes(value).decode("utf-8", "replace") for value in values]
        if values:
            found[key] = list(values)
    covers = tags.get("covr")
    if not covers:
        return found, None
    is_png = covers[0].imageformat == MP4Cover.FORMAT_PNG
    return found, Cover(bytes(covers[0]), "image/png" if is_png else "image/jpeg")


def _fill_id3(frames: id3.ID3, tags: Tags) -> None:
    for key, values in tags.fields.items():
        name = _FIELDS[key][0] if key in _FIELDS else "TXXX"
        text = list(values)
        if name == "COMM":
            frames.add(id3.COMM(encoding=id3.Encoding.UTF8, lang="XXX", desc="", text=text))
        elif name == "TXXX":
            frames.add(id3.TXXX(encoding=id3.Encoding.UTF8, desc=key, text=text))
        else:
            frames.add(getattr(id3, name)(encoding=id3.Encoding.UTF8, text=text))
    if tags.cover is not None:
        frames.add(id3.APIC(mime=tags.cover.mime, type=_FRONT_COVER, desc="", data=tags.cover.data))


def _to_mp3(path: Path, tags: Tags) -> None:
    frames = id3.ID3()
    _fill_id3(frames, tags)
    frames.save(path)


def _to_wav(path: Path, tags: Tags) -> None:
    cover_bytes = len(tags.cover.data) if tags.cover else 0
    with path.open("rb") as head:
        is_riff = head.read(4) == b"RIFF"
    if not is_riff or path.stat().st_size + cover_bytes + 2**20 > _MAX_RIFF_BYTES:
        _log.warning("a WAVE file of 4 GB gets no tags; choose flac to keep them")
        return
    file: Any = WAVE(path)
    file.add_tags()
    _fill_id3(file.tags, tags)
    file.save()


def _picture(cover: Cover) -> Picture:
    picture = Picture()
    picture.type = _FRONT_COVER
    picture.mime = cover.mime
    picture.data = cover.data
    return picture


def _to_flac(path: Path, tags: Tags) -> None:
    file = FLAC(path)
    file.update({key: list(values) for key, values in tags.fields.items()})
    if tags.cover is not None:
        file.add_picture(_picture(tags.cover))
    file.save()


def _to_ogg(path: Path, tags: Tags) -> None:
    with path.open("rb") as head:
        is_opus = b"OpusHead" in head.read(64)
    file = OggOpus(path) if is_opus else OggVorbis(path)
    file.update({key: list(values) for key, values in tags.fields.items()})
    if tags.cover is not None:
        block = base64.b64encode(_picture(tags.cover).write()).decode("ascii")
        file["metadata_block_picture"] = [block]
    file.save()


def _to_mp4(path: Path, tags: Tags) -> None:
    file: Any = MP4(path)
    if file.tags is None:
        file.add_tags()
    for key, values in tags.fields.items():
        name = _FIELDS[key][1] if key in _FIELDS else _FREE_FORM + key
        value = _mp4_value(name, values)
        if value is not None:
            file.tags[name] = value
    formats = {"image/jpeg": MP4Cover.FORMAT_JPEG, "image/png": MP4Cover.FORMAT_PNG}
    if tags.cover is not None and tags.cover.mime in formats:
        file.tags["covr"] = [MP4Cover(tags.cover.data, formats[tags.cover.mime])]
    file.save()


def _mp4_value(name: str, values: tuple[str, ...]) -> list[Any] | None:
    """Return what an atom holds, or None if it wants a number and the text is none."""
    if name.startswith(_FREE_FORM):
        return [MP4FreeForm(value.encode()) for value in values]
    if name in ("trkn", "disk"):
        match = re.fullmatch(r"(\d{1,4})(?:/(\d{1,4}))?", values[0])
        return [(int(match[1]), int(match[2] or 0))] if match else None
    if name == "tmpo":
        match = re.fullmatch(r"(\d{1,3})(?:\.\d*)?", values[0])
        return [round(float(match[0]))] if match else None
    return list(values)
