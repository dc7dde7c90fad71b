"""A process that uses the embedded server of the folder given to it, says so, and waits to be ended."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import structlog

from bot.engine import embedded


async def main(folder: Path) -> None:
    server = await embedded.start(folder)
    sys.stdout.write(f"{server.url}\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.readline)
    await server.release()


if __name__ == "__main__":
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.stderr))
    asyncio.run(main(Path(sys.argv[1])))
