"""Write `docs/benchmarks.md`: every comparison with a peer, on this machine, by one command.

    python benchmarks/page.py [--only releases memory …]

Each part is a program of this folder, run by itself; its figures go to `benchmarks/results.json`
with the machine and the versions, and the page is written from that file, so that parts can be
measured again one by one.
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
RESULTS, PAGE = HERE / "results.json", HERE.parent / "docs" / "benchmarks.md"
PACKAGES = (
    *("desmezcla", "torch", "numpy", "onnxruntime", "av"),
    *("openunmix", "demucs", "museval", "audio-separator"),
)
FLAGS = {"avx2": "AVX2", "avx512f": "AVX-512", "avx512_bf16": "bfloat16", "amx_tile": "AMX"}
RATIOS = ("song_s_ratio", "program_s_ratio")


@dataclass(frozen=True)
class Part:
    """A part of the page.

    Attributes:
        title: Of the section.
        command: Program of this folder, and its options.
        text: What the table shows.
        table: Makes the lines of the table of what the program printed.
    """

    title: str
    command: Sequence[str]
    text: str
    table: Callable[[Any], list[str]]


def rows(head: Sequence[str], body: Sequence[Sequence[object]]) -> list[str]:
    """Return the lines of a Markdown table."""
    lines = [head, ["---"] * len(head), *body]
    return [f"| {' | '.join(map(str, line))} |" for line in lines]


def startup_table(found: Any) -> list[str]:
    shown = {name: f"{x:.2f} s" if isinstance(x, float) else f"`{x}`" for name, x in found.items()}
    return rows(["command", "time"], [(f"`{name}`", text) for name, text in shown.items()])


def releases_table(found: Any) -> list[str]:
    body = [
        (
            f"`{name}`",
            f"{one['process_s']:.1f} s",
            f"{one['times_real_time']:.1f}",
            f"{one['times_the_peer']:.1f}",
            f"{one['peak_mib']:.0f} MiB",
        )
        for name, one in found["medians"].items()
    ]
    head = ["", "process", "times real time", "times `openunmix`", "peak memory"]
    return rows(head, body)


def peer_table(found: Any) -> list[str]:
    """Return the table of a program that compares whole separations with a peer's."""
    body = []
    for name, one in found["medians"].items():
        is_peer = RATIOS[0] not in one
        label = f"`{name}`" if is_peer else f"`desmezcla`, {name}"
        shares = [f"{one[key]:.2f}" if key in one else "1" for key in RATIOS]
        agreement = f"{one['agreement_db']:.0f} dB" if "agreement_db" in one else ""
        speed = found["seconds"] / one["song_s"]
        body.append(
            (
                *(label, f"{one['song_s']:.1f} s", f"{speed:.1f}", shares[0], shares[1]),
                *(f"{one['peak_mib']:.0f} MiB", agreement),
            )
        )
    head = ["", "song", "times real time", "times as fast", "program, times as fast"]
    return rows([*head, "peak memory", "agreement"], body)


def scores_table(found: Any) -> list[str]:
    body = [
        (f"`{name}`", f"{one['scoring_s']:.1f} s", ratio, f"{one['peak_mib']:.0f} MiB")
        for name, ratio, one in (
            ("museval", 1, found["museval"]),
            ("desmezcla.evaluate", found["times_as_fast"], found["desmezcla"]),
        )
    ]
    return rows(["", "time", "times as fast", "peak memory"], body)


def memory_table(found: Any) -> list[str]:
    *songs, _ = found
    body = [
        (f"{one['minutes']:g} min", f"{one['peak_mib']:.0f} MiB", one["times_real_time"])
        for one in songs
    ]
    return rows(["song", "peak memory", "times real time"], body)


def onnx_table(found: Any) -> list[str]:
    body = [
        (
            f"`{name}`" if name.endswith(".onnx") else name,
            *(f"{one['size_mb']} MB", *one["sdr_db"].values(), f"{one['loss_db']:.3f} dB"),
            "" if one["agreement_db"] is None else f"{one['agreement_db']} dB",
            *(one["times_real_time"], one["times_as_fast"]),
        )
        for name, one in found["systems"].items()
    ]
    stems = next(iter(found["systems"].values()))["sdr_db"]
    head = [
        "",
        "size",
        *stems,
        "mean loss",
        "agreement",
        "times real time",
        "times as fast as PyTorch",
    ]
    return rows(head, body)


def workers_table(found: Any) -> list[str]:
    cluster, one = found["cluster"], found["throughput"]
    rates = one["audio_seconds_per_second"]
    body = [
        (number, rate, f"{rate / rates['1']:.2f}", one["cores_used"][number])
        for number, rate in rates.items()
    ]
    same = "the same as" if cluster["equal_to_one_machine"] else "other than"
    return [
        *rows(["workers", "seconds of audio per second", "times one worker", "cores"], body),
        "",
        f"On the cluster {cluster['done']} tracks were done, {cluster['failed']} failed and "
        f"{cluster['ended_twice']} ended twice; a node was killed after "
        f"{cluster['node_killed_after_tracks']}. The {cluster['files']} files are {same} those of "
        "a run without a cluster, byte for byte.",
    ]


PARTS = {
    "startup": Part(
        "Start-up",
        ("startup.py",),
        "Median of five runs, start of Python included.",
        startup_table,
    ),
    "releases": Part(
        "From MP3 to FLAC, as a user runs it",
        ("releases.py", "--seconds", "240", "--runs", "3"),
        "`desmezcla separate` of a song of 240 s, from an MP3 file to four FLAC files, start of "
        "Python included; `openunmix`, with random weights of umxhq's size, from WAV to WAV.",
        releases_table,
    ),
    "open_unmix": Part(
        "Open-Unmix beside `openunmix`",
        ("open_unmix.py", "--seconds", "180", "--runs", "3"),
        "The same random weights (the size of umxhq), the same file of 180 s, one iteration of the "
        "Wiener filter; programs in turns, medians, ratios of neighbouring runs.",
        peer_table,
    ),
    "ht_demucs": Part(
        "Hybrid Transformer Demucs beside `demucs`",
        ("ht_demucs.py", "--seconds", "60", "--runs", "3", "--long", "240"),
        "The same random weights (the sizes of the published `htdemucs`), the same file of 60 s, "
        "no shifts, an overlap of a quarter; programs in turns, medians, ratios of neighbours.",
        peer_table,
    ),
    "audio_separator": Part(
        "BS-RoFormer beside `audio-separator`",
        ("roformer.py", "--segments", "6", "--runs", "2"),
        "The same random weights (the sizes of the package's default model, with two of its twelve "
        "blocks), the same file of 48 s in segments of 8 s without overlap, vocals and the rest; "
        "programs in turns, medians, ratios of neighbours.",
        peer_table,
    ),
    "bss_eval": Part(
        "BSS Eval beside `museval`",
        ("bss_eval.py", "--minutes", "4"),
        "Four stereo stems of four minutes, BSS Eval v4, frames of a second.",
        scores_table,
    ),
    "memory": Part(
        "Memory against the length of the song",
        ("memory.py", "--model", "default", "--minutes", "1", "3", "10", "30", "60", "180"),
        "`desmezcla separate` with the release `default`, peak memory of the whole process.",
        memory_table,
    ),
    "onnx": Part(
        "`default` as ONNX files",
        ("onnx_files.py",),
        "SDR in dB (BSS Eval v4) of four rendered songs of 30 s, arrays in memory; time is the "
        "best of three runs by turns, agreement that with PyTorch's stems.",
        onnx_table,
    ),
    "workers": Part(
        "Throughput against workers",
        ("cluster.py",),
        "`desmezcla batch` with `default`: workers with one thread each, by turns, start left out, "
        "medians of three runs; and 200 short tracks, one of them corrupt, on a Ray cluster of two "
        "nodes, one of which is killed.",
        workers_table,
    ),
}


def measure(part: Part) -> dict[str, Any]:
    """Run the program of a part."""
    start_s = time.monotonic()
    command = [sys.executable, str(HERE / part.command[0]), *part.command[1:]]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(part.command)} failed with status {done.returncode}")
    return {
        "figures": objects(done.stdout),
        "machine": machine(),
        "date": date.today().isoformat(),
        "versions": versions(),
        "seconds": round(time.monotonic() - start_s),
    }


def objects(text: str) -> Any:
    """Return the JSON value that a program printed; a list if there are several."""
    decoder, found, place = json.JSONDecoder(), [], 0
    while place < len(text):
        value, place = decoder.raw_decode(text, place)
        found.append(value)
        place += len(text[place:]) - len(text[place:].lstrip())
    return found[0] if len(found) == 1 else found


def machine() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    text = cpuinfo.read_text() if cpuinfo.exists() else ""
    model = re.search(r"model name\s*: (.+)", text)
    extras = [name for flag, name in FLAGS.items() if re.search(rf"\b{flag}\b", text)]
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    name = model[1] if model else platform.processor() or platform.machine()
    return (
        f"{name} ({', '.join(extras) or 'no vector extensions known'}), {os.cpu_count()} cores, "
        f"{memory_gib:.0f} GiB, {platform.system()}, Python {platform.python_version()}"
    )


def versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def page(results: dict[str, Any]) -> str:
    """Return the page."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `python benchmarks/page.py` (or `make bench`), which runs the programs below,",
        "each beside its peer. What the figures mean, and what was tried,",
        "[performance](performance.md) tells.",
    ]
    where = ""
    for key, part in PARTS.items():
        if key not in results:
            continue
        one = results[key]
        named = ", ".join(f"{name} {number}" for name, number in one["versions"].items())
        if (here := f"{one['machine']}; {named}") != where:
            where = here
            lines += ["", f"What follows was measured on {where}."]
        lines += ["", f"## {part.title}", "", part.text, "", *part.table(one["figures"])]
        lines += ["", f"`python benchmarks/{' '.join(part.command)}`, {one['date']}."]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--only", nargs="+", choices=list(PARTS), default=list(PARTS))
    results = json.loads(RESULTS.read_text()) if RESULTS.exists() else {}
    for key in parser.parse_args().only:
        print(f"measuring {key} …", file=sys.stderr, flush=True)
        results[key] = measure(PARTS[key])
        RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n")
        PAGE.write_text(page(results), encoding="utf-8")


if __name__ == "__main__":
    main()
