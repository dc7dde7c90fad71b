"""Which of the messages that providers took are which of tuma's.

Twilio and mail carry tuma's message id. Telegram does not: there the id in the answer that tuma got tells, and what
is left had its answer lost and is known by chat, text and time: first one for each message that tuma itself doubts,
then a second one for those it flagged as possible duplicates. What a lost worker sent has no text on record, and gets
what nobody else claimed. Whatever remains goes to a message with that text, where it counts as taken twice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import timedelta

from bot.domain.bill import MessageView
from bot.domain.message import Outcome, State
from bot.sandbox import judge
from bot.sandbox.world import Message

TELEGRAM = "telegram"
_EARLIER = timedelta(seconds=1)


class Matching:
    """`accepted` is the providers' record; `chats` holds tuma's Telegram messages, each with its chat id."""

    def __init__(self, accepted: Iterable[Message], chats: Sequence[tuple[str, MessageView]]) -> None:
        self._by_reference: defaultdict[tuple[str, str], list[Message]] = defaultdict(list)
        self._left: defaultdict[str, list[Message]] = defaultdict(list)
        self._telegram: defaultdict[str, list[Message]] = defaultdict(list)
        for message in accepted:
            name, _ = judge.reference(message)
            if name:
                self._by_reference[message.channel, name].append(message)
            else:
                self._left[message.address].append(message)
        self._match(sorted(chats, key=lambda each: each[1].created_at))

    def of(self, view: MessageView) -> list[Message]:
        """Every time that a provider took this message, oldest first."""
        found = self._by_reference.get((view.channel, view.id), [])
        return self._telegram.get(view.id, []) if view.channel == TELEGRAM else found

    def strays(self, known: Iterable[MessageView]) -> list[Message]:
        """The providers' messages that tuma knows nothing of."""
        mine = {(view.channel, view.id) for view in known}
        strange = [each for key, found in self._by_reference.items() if key not in mine for each in found]
        return strange + [each for found in self._left.values() for each in found]

    def _match(self, chats: Sequence[tuple[str, MessageView]]) -> None:
        for chat, view in chats:
            self._take(view, [each for each in self._left[chat] if each.id == view.provider_id])
        doubted = [(chat, view) for chat, view in chats if _doubts(view)]
        for chat, view in doubted:
            self._take(view, self._alike(chat, view)[:1])
        for chat, view in doubted:
            if view.possible_duplicate and len(self._telegram[view.id]) < 2:
                self._take(view, self._alike(chat, view)[:1])
        for chat, view in doubted:
            if view.text is None:
                self._take(view, self._unnamed(chat, view))
        for chat, view in chats:
            self._take(view, self._alike(chat, view))

    def _alike(self, chat: str, view: MessageView) -> list[Message]:
        """What nobody has claimed yet, with this text and not from before this message was made."""
        return [each for each in self._since(chat, view) if _sent(each) == view.text]

    def _unnamed(self, chat: str, view: MessageView) -> list[Message]:
        """What nobody has claimed, and of a possible duplicate the same text once more."""
        found = self._since(chat, view)
        again = [each for each in found[1:] if _sent(each) == _sent(found[0])]
        return found[:1] + (again[:1] if view.possible_duplicate else [])

    def _since(self, chat: str, view: MessageView) -> list[Message]:
        since = view.created_at - _EARLIER
        return [each for each in self._left[chat] if each.at >= since]

    def _take(self, view: MessageView, found: list[Message]) -> None:
        for each in found:
            self._left[each.address].remove(each)
        self._telegram[view.id] = sorted([*self._telegram[view.id], *found], key=lambda each: each.at)


def _sent(message: Message) -> str:
    return str(message.extra.get("sent", message.text))


def _doubts(view: MessageView) -> bool:
    """Whether this message may have been taken without tuma's knowing: it was tried, and does not count as sent."""
    tried = view.attempts > 0 and view.outcome is not Outcome.SENT
    return tried or view.possible_duplicate or view.state is State.IN_DOUBT
