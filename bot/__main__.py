"""The program `tuma`: parses the command line and ends with exit code 0 (ok), 1 (failed) or 2 (usage).

Only this module ends the process. What a command needs is imported when it runs, so that help is quick.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line and exit."""
    from bot.cli import app

    app(prog_name="tuma")


if __name__ == "__main__":
    main()
