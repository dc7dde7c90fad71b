"""When a message in doubt is asked about: first a while for a callback, then several questions, spaced.

Twilio's list may lag behind what it took, so that one "not there" proves little; several over about a minute are
believed. Source: no figure of Twilio's for the lag is known; the spacing is a choice, `TUMA_IN_DOUBT_WAIT_MS` in all.
"""

from __future__ import annotations

from channels.base import ChannelName

# Channels with a provider that can be asked; which one can, the channel itself knows.
ASKED = (ChannelName.SMS, ChannelName.WHATSAPP)
# When it is asked, as parts of the whole wait, if every question is answered at once.
_MOMENTS = (1 / 6, 1 / 3, 2 / 3, 1.0)
TIMES = len(_MOMENTS)


def first_ms(channel: str, wait_ms: int) -> int:
    """How long after it came in doubt something is done about a message: it is asked about, or its policy applies."""
    return int(wait_ms * _MOMENTS[0]) if channel in ASKED else wait_ms


def pause_ms(answered: int, wait_ms: int) -> int:
    """How long to wait after `answered` answers that it is not there, of which this is the last."""
    at = min(max(answered, 1), TIMES - 1)
    return int(wait_ms * (_MOMENTS[at] - _MOMENTS[at - 1]))
