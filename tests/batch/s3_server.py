"""moto's server with a journal, `python s3_server.py PORT JOURNAL`.

Killed at any moment, it knows after its next start all that it had answered for.
"""

import io
import json
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple


class Journaled:
    """Notes each request that changes something, and does them all again at its start."""

    def __init__(self, app: Any, path: Path) -> None:
        self.app = app
        for line in path.read_text().splitlines() if path.exists() else []:
            request = json.loads(line)
            body = b64decode(request.pop("body"))
            list(app(_environment(request, body), lambda *_: None))
        self.journal = path.open("a")

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH") or 0))
        request = {key: value for key, value in environ.items() if isinstance(value, str)}
        statuses: list[str] = []

        def start(status: str, *more: Any) -> Any:
            statuses.append(status)
            return start_response(status, *more)

        answer = list(self.app(_environment(environ, body), start))
        if environ["REQUEST_METHOD"] not in ("GET", "HEAD") and statuses[0].startswith("2"):
            print(
                json.dumps(request | {"body": b64encode(body).decode()}),
                file=self.journal,
                flush=True,
            )
        return answer


def _environment(request: dict[str, Any], body: bytes) -> dict[str, Any]:
    known = {"wsgi.url_scheme": "http", "wsgi.errors": sys.stderr, "wsgi.multithread": False}
    return known | request | {"wsgi.input": io.BytesIO(body), "CONTENT_LENGTH": str(len(body))}


if __name__ == "__main__":
    port, journal = sys.argv[1:]
    app = Journaled(DomainDispatcherApplication(create_backend_app), Path(journal))
    run_simple("127.0.0.1", int(port), app, threaded=False)
