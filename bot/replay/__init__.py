"""A merchant's own bills through a tuma and a city of their own: every text, its cost and what became of it.

    stage.py     a temporary tuma on a temporary sandbox, with the merchant's texts and nobody's accounts
    play.py      bills go out, time jumps from timer to timer, some customers pay
    report.py    what the providers took, beside what tuma says; the verdict

    report = await replay(rows, settings, Options(profile=find("bad-day"), seed=7))

Nothing leaves this machine: no provider, no database and no `callback_url` of the merchant's is spoken to.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from bot.replay.play import Play
from bot.replay.report import Report, judge
from bot.replay.stage import Options, Row, on_stage
from bot.settings import Settings

__all__ = ["Options", "Report", "Row", "replay"]


async def replay(
    rows: Sequence[Row], settings: Settings, options: Options, tell: Callable[[str], None] = lambda line: None
) -> Report:
    """Play `rows` from the first message to the last reminder. `tell` hears of the progress, a line at a time.

    Raises ConfigError, StoreUnavailable, TemplateError.
    """
    async with on_stage(settings, options) as stage:
        play = Play(stage, options, tell)
        await play.run(rows)
        return await judge(play)
