"""The program `tuma`: parses the command line and ends with exit code 0 (ok), 1 (failed) or 2 (usage).

Only this module ends the process. What a command needs is imported when it runs, so that help is quick.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit."""
    from bot.cli import app, keep_only

    if len(sys.argv) > 1:
        keep_only(sys.argv[1])
    app(prog_name="tuma")


if __name__ == "__main__":
    main()
