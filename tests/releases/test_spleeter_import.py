"""Import of Spleeter's checkpoints, and the reader of TensorFlow's files, which trusts nothing."""

import io
import json
import shutil
import struct
import tarfile
from collections.abc import Callable
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from desmezcla.errors import ReleaseError
from desmezcla.releases.catalog import CatalogEntry, catalog
from desmezcla.releases.checkpoint import load_model
from desmezcla.releases.importers import import_release, importer, spleeter
from desmezcla.releases.release import file_digest
from desmezcla.releases.store import user_folder
from desmezcla.releases.tensor_bundle import MAGIC, TensorBundle, crc32c, masked

GOLDEN = Path(__file__).parents[1] / "golden" / "spleeter"
DATA = "model.data-00000-of-00001"
Tensors = dict[str, np.ndarray]


def varint(number: int) -> bytes:
    parts = []
    while number >= 128:
        parts.append(number & 127 | 128)
        number >>= 7
    return bytes([*parts, number])


def field(number: int, value: int | bytes) -> bytes:
    if isinstance(value, bytes):
        return varint(number << 3 | 2) + varint(len(value)) + value
    return varint(number << 3) + varint(value)


def block(pairs: list[tuple[bytes, bytes]], compression: int = 0) -> bytes:
    content = b"".join(
        varint(0) + varint(len(key)) + varint(len(value)) + key + value for key, value in pairs
    )
    content += struct.pack("<II", 0, 1) + bytes([compression])
    return content + struct.pack("<I", masked(crc32c(content)))


def table(*blocks: bytes, places: list[tuple[int, int]] | None = None) -> bytes:
    """Return a sorted table of some blocks, whose index may lie about their places."""
    starts = np.cumsum([0, *map(len, blocks)]).tolist()
    true_places = [(start, len(b) - 5) for start, b in zip(starts, blocks, strict=False)]
    handles = [varint(start) + varint(size) for start, size in places or true_places]
    index = block([(b"z", handle) for handle in handles])
    footer = varint(0) + varint(0) + varint(starts[-1]) + varint(len(index) - 5)
    return b"".join(blocks) + index + footer.ljust(40, b"\0") + MAGIC


HEADER = (b"", field(1, 1))


def entry(
    shape: tuple[int, ...],
    *,
    dtype: int = 1,
    shard: int = 0,
    offset: int = 0,
    size: int | None = None,
    checksum: int = 0,
    extra: bytes = b"",
) -> bytes:
    sizes = b"".join(field(2, field(1, length)) for length in shape)
    return (
        field(1, dtype)
        + field(2, sizes)
        + field(3, shard)
        + field(4, offset)
        + field(5, 4 * prod(shape) if size is None else size)
        + varint(6 << 3 | 5)
        + struct.pack("<I", checksum)
        + extra
    )


def write_bundle(folder: Path, tensors: Tensors) -> Path:
    """Write a checkpoint as TensorFlow does."""
    folder.mkdir(parents=True)
    pairs, data = [HEADER], b""
    for name in sorted(tensors):
        content = tensors[name].astype("<f4").tobytes()
        checksum = masked(crc32c(content))
        pairs.append(
            (name.encode(), entry(tensors[name].shape, offset=len(data), checksum=checksum))
        )
        data += content
    (folder / "model.index").write_bytes(table(block(pairs)))
    (folder / DATA).write_bytes(data)
    return folder


def golden_tensors(name: str = "2stems") -> Tensors:
    bundle = TensorBundle(GOLDEN / name / "model.index")
    return {key: bundle.read(key) for key in bundle.entries if "Adam" not in key}


def pack(path: Path, files: dict[str, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def golden_files(name: str) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (GOLDEN / name).iterdir()}


def test_a_checkpoint_of_tensorflow_is_imported_tensor_by_tensor() -> None:
    release = import_release(GOLDEN / "5stems", "mine")
    assert release.info.stems == ("vocals", "piano", "drums", "bass", "other")
    model = load_model("mine")
    config = model.config.model_dump()
    expected = {
        "n_fft": 256,
        "hop_length": 64,
        "frames": 64,
        "bins": 64,
        "widths": (2, 3, 4, 5, 6, 7),
        "encoder_activation": "elu",
        "decoder_activation": "elu",
        "mask": "softmax",
        "mask_extension": "zeros",
    }
    assert {key: config[key] for key in expected} == expected
    state, source = model.state_dict(), golden_tensors("5stems")
    for ours, theirs in {
        "stem_vocals.encoder.0.weight": "conv2d/kernel",
        "stem_drums.encoder.5.weight": "conv2d_19/kernel",
        "stem_piano.decoder.0.weight": "conv2d_transpose_6/kernel",
        "stem_other.exit.weight": "conv2d_34/kernel",
        "stem_other.exit.bias": "conv2d_34/bias",
        "stem_vocals.encoder_norms.0.weight": "batch_normalization/gamma",
        "stem_bass.encoder_norms.4.running_mean": "batch_normalization_40/moving_mean",
        "stem_bass.decoder_norms.0.running_var": "batch_normalization_42/moving_variance",
    }.items():
        value = source[theirs]
        value = value.transpose(3, 2, 0, 1) if value.ndim == 4 else value
        np.testing.assert_array_equal(state[f"networks.{ours}"].numpy(), value)
    counted = sum(value.numel() for key, value in state.items() if "num_batches" not in key)
    assert counted == sum(value.size for value in source.values()) - 5 * 4 * 7


@pytest.mark.parametrize(
    ("name", "activation", "mask"),
    [
        ("2stems", "leaky_relu", "sigmoid"),
        ("4stems", "elu", "sigmoid"),
        ("5stems", "elu", "softmax"),
    ],
)
def test_without_a_configuration_it_is_that_of_spleeters_own_model(
    tmp_path: Path, name: str, activation: str, mask: str
) -> None:
    shutil.copytree(GOLDEN / name, tmp_path / "c", ignore=shutil.ignore_patterns("*.json"))
    import_release(tmp_path / "c", "mine")
    model = load_model("mine")
    assert model.spec.stems == tuple(
        json.loads((GOLDEN / name / "config.json").read_text())["instrument_list"]
    )
    config = model.config.model_dump()
    assert (config["n_fft"], config["hop_length"], config["frames"]) == (4096, 1024, 512)
    assert (config["encoder_activation"], config["mask"]) == (activation, mask)


def test_the_newest_checkpoint_of_a_training_folder_is_taken(tmp_path: Path) -> None:
    folder = tmp_path / "training"
    folder.mkdir()
    for name, source in (("model.ckpt-10", "2stems"), ("model.ckpt-9", "4stems")):
        shutil.copy(GOLDEN / source / "model.index", folder / f"{name}.index")
        shutil.copy(GOLDEN / source / DATA, folder / DATA.replace("model", name))
    with pytest.raises(ReleaseError, match="has 2 checkpoints to choose from"):
        import_release(folder, "mine")
    (folder / "checkpoint").write_text(
        'model_checkpoint_path: "/elsewhere/model.ckpt-10"\n'
        'all_model_checkpoint_paths: "/elsewhere/model.ckpt-9"\n'
    )
    assert import_release(folder, "mine").info.stems == ("vocals", "accompaniment")


def test_an_archive_is_the_same_as_its_folder(tmp_path: Path) -> None:
    files = {f"./2stems/{name}": content for name, content in golden_files("2stems").items()}
    files |= {"2stems/._model.index": b"of another system", "model.meta": b"graph"}
    archive = pack(tmp_path / "2stems.tar.gz", files)
    expected = import_release(GOLDEN / "2stems", "folder")
    assert import_release(archive, "archive").sha256 == expected.sha256


def test_nothing_of_an_archive_is_written_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    files = {f"../../{name}": content for name, content in golden_files("2stems").items()}
    files |= {"/etc/evil.sh": b"", f"{tmp_path}/evil.json": b"{}", "..\\evil.index": b""}
    archive = pack(tmp_path / "evil.tar.gz", files)
    with tarfile.open(tmp_path / "links.tar.gz", "w:gz") as links:
        link = tarfile.TarInfo("model.index")
        link.type, link.linkname = tarfile.SYMTYPE, str(GOLDEN / "2stems" / "model.index")
        links.addfile(link)
    import_release(archive, "mine")
    with pytest.raises(ReleaseError, match="has 0 checkpoints"):
        import_release(tmp_path / "links.tar.gz", "links")
    assert not list(temporary.iterdir())
    found = {path.name for path in tmp_path.iterdir()}
    assert found == {"evil.tar.gz", "links.tar.gz", "temporary", "home"}


def test_archives_that_are_no_model_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = golden_files("2stems")
    doubled = {f"{folder}/{name}": x for folder in "ab" for name, x in files.items()}
    with pytest.raises(ReleaseError, match=r"has two files \S+; unpack it"):
        import_release(pack(tmp_path / "two.tar.gz", doubled), "mine")
    (tmp_path / "no.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ReleaseError, match="cannot be read as an archive"):
        import_release(tmp_path / "no.tar.gz", "mine")
    whole = pack(tmp_path / "whole.tar.gz", files).read_bytes()
    (tmp_path / "cut.tar.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ReleaseError, match="cannot be read as an archive"):
        import_release(tmp_path / "cut.tar.gz", "mine")
    pack(tmp_path / "many.tar.gz", {f"{number}": b"" for number in range(1001)})
    with pytest.raises(ReleaseError, match="or 1000 files"):
        import_release(tmp_path / "many.tar.gz", "mine")
    monkeypatch.setattr(spleeter, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(ReleaseError, match="holds more than 1000 bytes"):
        import_release(tmp_path / "whole.tar.gz", "mine")
    assert not user_folder().exists()


def test_an_entry_of_the_catalog_is_converted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = pack(tmp_path / "4stems.tar.gz", golden_files("4stems"))
    record = catalog()["spleeter_4stems"].model_dump(mode="json")
    record["files"] = [{"url": "https://example.org/4stems.tar.gz", "sha256": file_digest(archive)}]
    known = CatalogEntry.model_validate(record)
    files = [(known.files[0], archive)]
    release = importer("spleeter").convert(files, known, tmp_path / "out", replace=False)
    assert (release.info.license, release.info.saw_musdb18_test) == ("MIT", False)
    assert release.info.scores == known.scores
    # An archive that is imported is known by its checksum.
    monkeypatch.setattr(spleeter, "catalog", lambda: {known.name: known})
    assert import_release(archive, "mine").info.license == "MIT"
    pack(archive, {**golden_files("4stems"), "more": b""})
    assert import_release(archive, "other").info.license == "unknown"


def test_the_catalog_has_spleeters_models_as_published() -> None:
    entries = [entry for entry in catalog().values() if entry.format == "spleeter"]
    assert [entry.name for entry in entries] == [f"spleeter_{n}stems" for n in (2, 4, 5)]
    for known in entries:
        (file,) = known.files
        assert file.filename == f"{len(known.stems)}stems.tar.gz"
        assert known.stems == spleeter.PUBLISHED[len(known.stems)]["stems"]
        assert file.sha256
        assert not known.non_commercial


def without(*names: str) -> Callable[[Tensors], Tensors]:
    return lambda tensors: {k: v for k, v in tensors.items() if k not in names}


def changed(**values: Any) -> Callable[[Tensors], Tensors]:
    return lambda tensors: (
        tensors
        | {key.replace("__", "/"): np.asarray(value, np.float32) for key, value in values.items()}
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (without("conv2d_7/bias"), r"missing: networks\.stem_accompaniment\.encoder\.0\.bias"),
        (without("conv2d_7/kernel"), "is no checkpoint of Spleeter"),
        (without("conv2d/kernel"), "is no checkpoint of Spleeter"),
        (lambda tensors: {}, "is no checkpoint of Spleeter"),
        (changed(dense__kernel=[1]), "tensors unknown: dense/kernel"),
        (changed(batch_normalization_99__gamma=[1]), "unknown: batch_normalization_99/gamma"),
        (changed(conv2d__gamma=[1]), "unknown: conv2d/gamma"),
        (changed(conv2d_3__bias=[1, 2, 3]), r"encoder\.3\.bias has the shape \[3\] instead of"),
        (changed(conv2d__kernel=np.ones((5, 5, 2, 9))), r"has the shape"),
        (changed(conv2d__kernel=np.ones((5, 5, 0, 9))), r"cannot be used|has the shape"),
        (changed(conv2d__kernel=np.ones(3)), "is no checkpoint of Spleeter"),
        (changed(conv2d_3__bias=[1, 2, 3, 4, float("nan")]), "NaN or infinite"),
        (changed(conv2d_3__bias=[1, 2, 3, 4, float("inf")]), "NaN or infinite"),
    ],
)
def test_checkpoints_that_do_not_fit_are_refused(
    tmp_path: Path, change: Callable[[Tensors], Tensors], message: str
) -> None:
    folder = write_bundle(tmp_path / "c", change(golden_tensors()))
    with pytest.raises(ReleaseError, match=message):
        import_release(folder, "mine")
    assert not user_folder().exists()


def test_the_checkpoints_of_the_tests_are_as_tensorflow_writes_them(tmp_path: Path) -> None:
    folder = write_bundle(tmp_path / "c", golden_tensors())
    shutil.copy(GOLDEN / "2stems" / "config.json", folder)
    expected = import_release(GOLDEN / "2stems", "theirs").sha256
    assert import_release(folder, "mine").sha256 == expected


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"instrument_list": ["a", "b", "c"]}, "has 2 stems, but its JSON configuration names a"),
        ({"instrument_list": ["a", "a"]}, "cannot be used"),
        ({"instrument_list": ["../a", "b"]}, "instrument_list"),
        ({"frame_length": -1}, "frame_length=-1"),
        ({"F": 100}, "must be multiples of 64"),
        ({"mask_extension": "mirror"}, "mask_extension"),
        ({"model": {"type": "blstm.blstm", "params": {}}}, "model.type='blstm.blstm'"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    shutil.copytree(GOLDEN / "2stems", tmp_path / "c")
    content = json.loads((tmp_path / "c" / "config.json").read_text())
    (tmp_path / "c" / "config.json").write_text(json.dumps(content | change))
    with pytest.raises(ReleaseError, match=message):
        import_release(tmp_path / "c", "mine")


def test_configurations_that_are_none_are_refused(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN / "2stems", tmp_path / "c")
    (tmp_path / "c" / "list.json").write_text("[]")  # of something else
    import_release(tmp_path / "c", "mine")
    shutil.copy(tmp_path / "c" / "config.json", tmp_path / "c" / "second.json")
    with pytest.raises(ReleaseError, match="has 2 configurations"):
        import_release(tmp_path / "c", "other")
    (tmp_path / "c" / "second.json").write_text("{")
    with pytest.raises(ReleaseError, match="cannot be read as JSON"):
        import_release(tmp_path / "c", "other")


def test_three_stems_need_a_configuration(tmp_path: Path) -> None:
    tensors = golden_tensors("4stems")
    limits = {"conv2d": 21, "conv2d_transpose": 18, "batch_normalization": 36}

    def number(name: str) -> tuple[str, int]:
        layer = name.split("/")[0]
        kind, _, digits = layer.rpartition("_")
        return (kind, int(digits)) if digits.isdigit() else (layer, 0)

    kept = {k: v for k, v in tensors.items() if number(k)[1] < limits[number(k)[0]]}
    folder = write_bundle(tmp_path / "c", kept)
    with pytest.raises(ReleaseError, match="has 3 stems, which none of Spleeter's own"):
        import_release(folder, "mine")
    content = json.loads((GOLDEN / "4stems" / "config.json").read_text())
    content["instrument_list"] = ["speech", "music", "noise"]
    (folder / "mine.json").write_text(json.dumps(content))
    assert import_release(folder, "mine").info.stems == ("speech", "music", "noise")


def test_the_checksum_is_crc_32c() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"") == 0
    generator = np.random.default_rng(0)
    for size in (*range(4, 70), 1023, 5000):
        data, register = generator.bytes(size), 0xFFFFFFFF
        for byte in data:
            register ^= byte
            for _ in range(8):
                register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
        assert crc32c(data) == register ^ 0xFFFFFFFF


def test_every_damage_is_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(GOLDEN / "2stems", folder)
    original = (folder / "model.index").read_bytes()
    expected = TensorBundle(folder / "model.index").entries
    generator = np.random.default_rng(0)
    for place in generator.integers(0, len(original), 300):
        damaged = bytearray(original)
        damaged[place] ^= 1 << int(generator.integers(8))
        (folder / "model.index").write_bytes(damaged)
        try:
            found = TensorBundle(folder / "model.index").entries
        except ReleaseError:
            continue
        # Between the footer's numbers and its last bytes nothing is written.
        assert place >= len(original) - 40
        assert found == expected
    for size in (0, 7, 47, 48, 1000, len(original) - 1):
        (folder / "model.index").write_bytes(original[:size])
        with pytest.raises(ReleaseError, match=r"cannot be read as the index"):
            TensorBundle(folder / "model.index")


def test_damaged_data_are_noticed(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    shutil.copytree(GOLDEN / "4stems", folder)
    content = (folder / DATA).read_bytes()
    (folder / DATA).write_bytes(content[:-1])
    with pytest.raises(ReleaseError, match=f"claims tensors of {len(content)} bytes"):
        import_release(folder, "mine")
    (folder / DATA).write_bytes(content[:5000] + bytes([content[5000] ^ 16]) + content[5001:])
    with pytest.raises(ReleaseError, match="its checksum is wrong"):
        import_release(folder, "mine")
    (folder / DATA).unlink()
    with pytest.raises(ReleaseError, match=r"model\.index cannot be read .*No such file"):
        import_release(folder, "mine")


GOOD = block([HEADER])
NAMED = b"conv2d/kernel"


@pytest.mark.parametrize(
    ("index", "message"),
    [
        (table(block([HEADER], compression=1)), "is compressed"),
        (table(GOOD, GOOD, places=[(0, len(GOOD) - 5), (0, len(GOOD) - 5)]), "blocks overlap"),
        (table(GOOD, places=[(1 << 62, 20)]), "is said to be from byte"),
        (table(GOOD, places=[(0, 1 << 62)]), "is said to be from byte"),
        (table(block([(b"", field(1, 1) + field(2, 1))])), "another order of bytes"),
        (table(block([(b"", field(1, b"x"))])), "field 1 is no number"),
        (table(block([(b"", b"\xff" * 20)])), "a number does not end"),
        (table(block([(b"", b"\x0f")])), "unknown kind 7"),
        (table(block([(b"", b"\x0a\x7f")])), "longer than its message"),
        (table(block([HEADER, (b"\xff", entry((1,)))])), "codec can't decode"),
        (table(block([HEADER, (NAMED, entry((1,), extra=field(7, b"")))])), "slices"),
        (table(block([HEADER, (NAMED, field(2, 5))])), "field 2 is no message"),
        (table(block([HEADER, (NAMED, entry((1 << 40,)))])), "claims tensors"),
        (table(block([HEADER, (NAMED, entry((1 << 63, 1 << 63), size=8))])), "has the shape"),
        (table(block([HEADER, (NAMED, entry((1,) * 100))])), "has the shape"),
        (table(block([HEADER, (b"x" * 257, entry((1,)))])), "is too long"),
        (table(block([HEADER, (NAMED, entry((1,), shard=10**15))])), "No such file"),
        (table(block([HEADER, *[(b"%d" % i, entry((5,))) for i in range(9)]])), "claims tensors"),
    ],
)
def test_hostile_indexes_are_refused(tmp_path: Path, index: bytes, message: str) -> None:
    (tmp_path / "model.index").write_bytes(index)
    (tmp_path / DATA).write_bytes(bytes(100))
    with pytest.raises(ReleaseError, match=message):
        TensorBundle(tmp_path / "model.index")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (entry((5,), offset=90), "should end at byte 110 of a file of 100"),
        (entry((5,), offset=1 << 60), "should end at byte"),
        (entry((5,), size=8), "has 8 bytes, but its shape needs 20"),
        (entry((1 << 40, 1 << 40), size=8), "but its shape needs"),
        (entry((5,), dtype=7), "its type is number 7"),
        (entry((5,)), "its checksum is wrong"),
    ],
)
def test_hostile_entries_are_refused(tmp_path: Path, value: bytes, message: str) -> None:
    (tmp_path / "model.index").write_bytes(table(block([HEADER, (NAMED, value)])))
    (tmp_path / DATA).write_bytes(bytes(100))
    bundle = TensorBundle(tmp_path / "model.index")
    with pytest.raises(ReleaseError, match=message):
        bundle.read("conv2d/kernel")
    with pytest.raises(ReleaseError):
        import_release(tmp_path, "mine")


def test_sizes_that_fit_each_other_but_not_the_file_need_no_memory(tmp_path: Path) -> None:
    # A million filters in every layer, and 100 bytes of data.
    width = 1_000_000
    tensors: dict[str, tuple[int, ...]] = {}
    for number, (i, o) in enumerate([(2, width), (width, width), (1, 2)] * 2):
        tensors[f"conv2d_{number}/kernel" if number else "conv2d/kernel"] = (5, 5, i, o)
    for number in range(4):
        layer = f"conv2d_transpose_{number}" if number else "conv2d_transpose"
        tensors[f"{layer}/kernel"] = (5, 5, width, width)
    pairs = [(name.encode(), entry(shape, size=1)) for name, shape in sorted(tensors.items())]
    (tmp_path / "model.index").write_bytes(table(block([HEADER, *pairs])))
    (tmp_path / DATA).write_bytes(bytes(100))
    with pytest.raises(ReleaseError, match="does not fit its model"):
        import_release(tmp_path, "mine")


def test_what_is_recognised() -> None:
    assert spleeter.recognises(GOLDEN / "2stems")
    assert not spleeter.recognises(GOLDEN)
    assert spleeter.recognises(Path("4stems.tar.gz"))
    assert not spleeter.recognises(Path("vocals.pth"))
