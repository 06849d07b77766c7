"""A home folder per test, checkpoints as Open-Unmix writes them, a server that can misbehave."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

Answer = Callable[[BaseHTTPRequestHandler], None]
MakeState = Callable[..., dict[str, Tensor]]


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("DESMEZCLA_HOME", str(tmp_path / "home"))
    for name in ("DESMEZCLA_MIRROR", "DESMEZCLA_OFFLINE", "DESMEZCLA_OFFLINE_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path / "home"


@pytest.fixture
def open_unmix_state() -> MakeState:
    """Return a maker of the state dict of one stem, with the names of the original program."""

    def make(
        *,
        n_fft: int = 64,
        bins: int = 20,
        hidden: int = 6,
        channels: int = 2,
        layers: int = 3,
        unidirectional: bool = False,
        seed: int = 0,
    ) -> dict[str, Tensor]:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            outputs = n_fft // 2 + 1
            parts: dict[str, nn.Module] = {
                "fc1": nn.Linear(bins * channels, hidden, bias=False),
                "bn1": nn.BatchNorm1d(hidden),
                "lstm": nn.LSTM(
                    hidden,
                    hidden if unidirectional else hidden // 2,
                    num_layers=layers,
                    bidirectional=not unidirectional,
                ),
                "fc2": nn.Linear(2 * hidden, hidden, bias=False),
                "bn2": nn.BatchNorm1d(hidden),
                "fc3": nn.Linear(hidden, outputs * channels, bias=False),
                "bn3": nn.BatchNorm1d(outputs * channels),
            }
            state = {
                f"{name}.{key}": value
                for name, part in parts.items()
                for key, value in part.state_dict().items()
            }
            state |= {key: torch.rand(bins) for key in ("input_mean", "input_scale")}
            return state | {key: torch.rand(outputs) for key in ("output_scale", "output_mean")}

    return make


@dataclass
class Server:
    """Gives its answers one after the other, the last one for ever, and keeps the requests."""

    url: str
    answers: list[Answer] = field(default_factory=list)
    requests: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.requests.append({"path": self.path, **self.headers})
            answer = served.answers[min(len(served.requests), len(served.answers)) - 1]
            answer(self)

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        served = Server(f"http://127.0.0.1:{listener.server_port}")
        thread = threading.Thread(target=listener.serve_forever, args=(0.01,))
        thread.start()
        yield served
        listener.shutdown()
        thread.join()
