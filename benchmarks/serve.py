"""`desmezcla serve` under bad luck and bad intent: `python serve.py [kill] [load]`.

`kill` ends the server or a worker with SIGKILL at random moments while songs are separated, and
checks that every song is done, once, with the right bytes. `load` sends what a server must refuse,
from many clients at the same time, and measures how long it takes to say that it is well.
"""

import argparse
import asyncio
import contextlib
import hashlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import soundfile

from desmezcla.datasets.demo.song import render_song
from desmezcla.inference.offline import Separator

TOKEN = "a-token-for-benchmarks"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
START = """
import json, sys
from desmezcla.studio.serving import serve
from desmezcla.studio.settings import make_settings
serve(make_settings(**json.loads(sys.argv[1])), port=0, token=sys.argv[2],
      announce=lambda address: print(address, flush=True))
"""


class Server:
    """A server in a process of its own, on a folder that outlives it."""

    def __init__(self, **settings: Any) -> None:
        self.settings = {"device": "cpu", "lease_s": 2.0, "max_deaths": 1000} | settings
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, json.dumps(self.settings), TOKEN],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self.process.stdout is not None
        self.address = self.process.stdout.readline().strip()
        if not self.address:
            raise SystemExit("the server does not start")
        self.client = httpx.Client(base_url=self.address, headers=HEADERS, timeout=60)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()
        self.client.close()

    def workers(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").iterdir()
        texts = [(task / "children").read_text() for task in tasks]
        return [int(pid) for text in texts for pid in text.split()]

    def resident_mib(self) -> float:
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+)", status)
        return int(found[1]) / 1024 if found else 0.0

    def end(self) -> None:
        self.process.terminate()
        self.process.wait()
        self.client.close()


# Kills.


def songs(folder: Path, count: int, seconds: float) -> list[tuple[bytes, dict[str, str]]]:
    """Return songs, and the checksum of each of their stems as `separate` writes them."""
    separator = Separator("baseline", device="cpu")
    made = []
    for seed in range(count):
        path = folder / f"{seed}.wav"
        song = np.sum(list(render_song(seed=seed, duration_s=seconds).values()), axis=0)
        soundfile.write(path, song.T, 44100)
        result = separator.separate_file(path, folder / "expected")
        sums = {stem: digest(file.read_bytes()) for stem, file in result.paths.items()}
        made.append((path.read_bytes(), sums))
    return made


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def kills(times: int, *, seed: int, seconds: float = 8.0) -> dict[str, Any]:
    """Kill servers and workers, and tell what became of the jobs."""
    chance = random.Random(seed)
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as ends:
        known = songs(Path(place), 3, seconds)
        data = Path(place) / "data"
        server = Server(data=str(data), max_jobs_per_client=500)
        ends.callback(server.end)
        expected: dict[str, dict[str, str]] = {}
        seen: dict[str, float] = {}
        counts = {"server": 0, "worker": 0, "in a job": 0}
        began_s = time.monotonic()
        for _ in range(times):
            for _ in range(max(0, 4 - active(server))):
                content, sums = chance.choice(known)
                expected[send(server, content)] = sums
            time.sleep(chance.uniform(0.0, 5.0))
            note_done(server, data, expected, seen)
            counts["in a job"] += server.client.get("/api/health").json()["running"]
            workers = server.workers()
            if workers and chance.random() < 0.6:
                counts["worker"] += 1
                os.kill(chance.choice(workers), signal.SIGKILL)
            else:
                counts["server"] += 1
                server.kill()
                server.start()
        while active(server):
            time.sleep(0.2)
        note_done(server, data, expected, seen)
        wrong = check(server, data, expected, seen)
        attempts = sum(int(folder.name) for folder in (data / "results").glob("*/*"))
    return {
        "kills": counts,
        "jobs": len(expected),
        "attempts": attempts,
        "wrong": wrong,
        "seconds": round(time.monotonic() - began_s),
    }


def send(server: Server, content: bytes) -> str:
    answer = server.client.post(
        "/api/jobs", files={"file": ("song.wav", content)}, data={"model": "baseline"}
    )
    answer.raise_for_status()
    return str(answer.json()["id"])


def active(server: Server) -> int:
    health = server.client.get("/api/health").json()
    return int(health["waiting"]) + int(health["running"])


def result_time(data: Path, job_id: str) -> float:
    """Return when the results of a job were written; they must be those of one attempt."""
    (folder,) = (data / "results" / job_id).iterdir()
    return (folder / "separation.json").stat().st_mtime


def note_done(
    server: Server, data: Path, expected: dict[str, dict[str, str]], seen: dict[str, float]
) -> None:
    for job_id in expected.keys() - seen.keys():
        if server.client.get(f"/api/jobs/{job_id}").json()["state"] == "done":
            seen[job_id] = result_time(data, job_id)


def check(
    server: Server, data: Path, expected: dict[str, dict[str, str]], seen: dict[str, float]
) -> list[str]:
    """Return what is wrong: jobs that are not done, done again, or done otherwise."""
    wrong = []
    for job_id, sums in expected.items():
        job = server.client.get(f"/api/jobs/{job_id}").json()
        if job.get("state") != "done":
            wrong.append(f"{job_id} is {job}")
            continue
        got = {s: stem_digest(server, a) for s, a in job["links"]["stems"].items()}
        if got != sums:
            other = [stem for stem in sums | got if got.get(stem) != sums.get(stem)]
            wrong.append(f"{job_id} has other stems: {', '.join(other)}")
        if result_time(data, job_id) != seen[job_id]:
            wrong.append(f"{job_id} was done again")
    return wrong


def stem_digest(server: Server, address: str) -> str:
    answer = server.client.get(address)
    answer.raise_for_status()
    return digest(answer.content)


# Load.


def junk(kind: int) -> tuple[str, bytes]:
    """Return the name and the content of a file that is no song."""
    return [
        ("song.wav", b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes(5000)),
        ("songs.zip", b"PK\x03\x04" + bytes(50_000)),
        ("../../etc/passwd", b"root:x:0:0\n" * 100),
        ("song.mp3", os.urandom(20_000)),
    ][kind % 4]


async def hostile(client: httpx.AsyncClient, number: int) -> int:
    name, content = junk(number)
    if number % 5 == 0:
        answer = await client.get("/api/jobs/" + "x" * 22, headers={"Authorization": "Bearer no"})
    else:
        headers = HEADERS | {"Cookie": f"desmezcla_client={number:022d}"}
        answer = await client.post("/api/jobs", files={"file": (name, content)}, headers=headers)
    return answer.status_code


async def storm(address: str, clients: int, rounds: int) -> dict[str, Any]:
    """Let many clients be hostile at the same time, and measure the answers of one that is not."""
    limits = httpx.Limits(max_connections=clients + 10)
    statuses: dict[int, int] = {}
    health_ms: list[float] = []
    async with httpx.AsyncClient(base_url=address, timeout=120, limits=limits) as client:

        async def attack(number: int) -> None:
            for turn in range(rounds):
                status = await hostile(client, number + turn)
                statuses[status] = statuses.get(status, 0) + 1

        attacks = asyncio.gather(*(attack(number) for number in range(clients)))
        began_s = time.monotonic()
        while not attacks.done():
            start_s = time.perf_counter()
            answer = await client.get("/api/health", headers=HEADERS)
            answer.raise_for_status()
            health_ms.append(1000 * (time.perf_counter() - start_s))
            await asyncio.sleep(0.02)
        await attacks
    return {
        "clients": clients,
        "requests": clients * rounds,
        "statuses": dict(sorted(statuses.items())),
        "seconds": round(time.monotonic() - began_s, 1),
        "health_ms": {
            "median": round(float(np.median(health_ms)), 1),
            "99 %": round(float(np.quantile(health_ms, 0.99)), 1),
            "most": round(max(health_ms), 1),
        },
    }


async def idlers(address: str, count: int) -> dict[str, Any]:
    """Hold as many uploads open as one can without sending; who comes then is told to wait."""

    async def slow() -> AsyncIterator[bytes]:
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        await asyncio.sleep(20)

    def headers(number: int) -> dict[str, str]:
        kind = {"Content-Type": "multipart/form-data; boundary=b"}
        return HEADERS | kind | {"Cookie": f"desmezcla_client={number:022d}"}

    limits = httpx.Limits(max_connections=count + 10)
    async with httpx.AsyncClient(base_url=address, timeout=60, limits=limits) as client:
        open_ones = [
            asyncio.create_task(client.post("/api/jobs", content=slow(), headers=headers(number)))
            for number in range(count)
        ]
        await asyncio.sleep(2)
        start_s = time.perf_counter()
        health = await client.get("/api/health", headers=HEADERS)
        health_ms = 1000 * (time.perf_counter() - start_s)
        other = await client.post("/api/jobs", content=b"--b--", headers=headers(count))
        for task in open_ones:
            task.cancel()
        await asyncio.gather(*open_ones, return_exceptions=True)
    return {
        "open": count,
        "health": health.status_code,
        "health_ms": round(health_ms, 1),
        "another upload": other.status_code,
    }


def endless(server: Server, gib: int, *, tells: bool) -> dict[str, Any]:
    """Send far more than is allowed, and tell how much of it was taken."""
    taken = 0
    piece = bytes(1 << 20)

    def body() -> Iterator[bytes]:
        nonlocal taken
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        for _ in range(gib * 1024):
            taken += len(piece)
            yield piece

    headers = {"Content-Type": "multipart/form-data; boundary=b"}
    if tells:
        headers["Content-Length"] = str(gib * 2**30)
    start_s = time.perf_counter()
    answer = server.client.post("/api/jobs", content=body(), headers=headers)
    return {
        "status": answer.status_code,
        "sent_mib": taken // 2**20,
        "seconds": round(time.perf_counter() - start_s, 2),
    }


def load(clients: int, rounds: int) -> dict[str, Any]:
    """Send what is to be refused, and tell how it went."""
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as ends:
        server = Server(data=place, max_upload_bytes=64 << 20)
        ends.callback(server.end)
        while not server.client.get("/api/health").json()["workers"]:
            time.sleep(0.1)
        before = server.resident_mib()
        return {
            "10 GiB, as declared": endless(server, 10, tells=True),
            "10 GiB, undeclared": endless(server, 10, tells=False),
            "idle uploads": asyncio.run(idlers(server.address, 60)),
            "storm": asyncio.run(storm(server.address, clients, rounds)),
            "memory_mib": {"before": round(before), "after": round(server.resident_mib())},
            "left": sorted(path.name for path in Path(place, "uploads").iterdir()),
        }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("tasks", nargs="*", choices=["kill", "load", []], default=[])
    parser.add_argument("--times", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--clients", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    tasks = options.tasks or ["kill", "load"]
    found = {}
    if "kill" in tasks:
        found["kill"] = kills(options.times, seed=options.seed)
    if "load" in tasks:
        found["load"] = load(options.clients, options.rounds)
    print(json.dumps(found, indent=2))
    return 1 if found.get("kill", {}).get("wrong") else 0


if __name__ == "__main__":
    sys.exit(main())
