"""A process of our own beside the server, which does not outlive what it was started for."""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator
from typing import Any

import anyio


@contextlib.asynccontextmanager
async def child(
    module: str, *arguments: str, **pipes: Any
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run a module in a process, which is ended with the block.

    Args:
        module: Name of the module.
        arguments: Of its command line.
        pipes: `stdin`, `stdout` and `stderr`, as `subprocess` has them.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module, *arguments), **pipes
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        # Also when this task is cancelled, as it is when the server ends.
        with anyio.CancelScope(shield=True):
            await process.communicate()
