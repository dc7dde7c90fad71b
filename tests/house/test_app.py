"""The process as a whole: a role that cannot work ends it, with the reason."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path


def test_a_taken_port_ends_the_process_with_the_reason(redis_url: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        env = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "REDIS_URL": redis_url,
            "TUMA_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}",
        }
        command = [str(Path(sys.executable).with_name("tuma")), "up"]
        ended = subprocess.run(
            command, env=env, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
        )
    assert ended.returncode == 2
    assert "TUMA_LISTEN: cannot listen" in ended.stderr
