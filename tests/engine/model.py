"""What the engine should do, in plain Python: no Redis, no scripts, nothing concurrent.

It is written from docs/concepts.md and the design, and test_model.py holds the scripts against it step by step.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.engine.model_records import KIND, Bill, Contact, Job, Message, Payment, Share, kind_order

DAY = 86_400_000
EARLY_PAYMENT = 2 * DAY
FAILED_AGAIN = 600_000
HOLD = 600_000


class Model:
    """The whole data set."""

    def __init__(self, now: int) -> None:
        self.now = now
        self.bills: dict[str, Bill] = {}
        self.payments: dict[tuple[str, str], Payment] = {}
        self.consent: dict[Contact, str] = {}
        self.timers: dict[tuple[str, str], int] = {}
        self.dead: set[str] = set()
        self.paused: set[str] = set()
        self.duplicates = 0
        self.stale = 0
        self._entries = 0

    @property
    def shares(self) -> list[Share]:
        return [share for bill in self.bills.values() for share in bill.shares]

    @property
    def messages(self) -> list[Message]:
        return [message for share in self.shares for message in share.messages]

    def message(self, local: str) -> Message:
        return next(message for message in self.messages if message.id == local)

    # Messages

    def create(
        self,
        share: Share,
        kind: str,
        channel: str,
        *,
        valid: int,
        lane: str | None = None,
        at: int | None = None,
        rung: bool = False,
        payment: str | None = None,
        maybe_second: bool = False,
        wish: int | None = None,
    ) -> Message:
        made = Message(
            share, len(share.messages) + 1, channel, kind, lane or share.lane, self.now, valid, rung, payment
        )
        share.messages.append(made)
        made.wished = wish or 0
        if made.fenced:
            self._replace(share, channel)
            share.latest[channel] = made.n
            if rung and wish is None:
                self._one_wish(share, channel, made.n)
        if maybe_second:
            made.maybe_second = True
            self.duplicates += 1
        if at is not None and at > self.now:
            made.state = "scheduled"
            self.timers["m", made.id] = at
        else:
            self.enqueue(made)
        if rung and share.rung_after(channel):
            start = at if at is not None and at > self.now else self.now
            self.timers["c", made.id] = start + share.confirm_within
        return made

    def _replace(self, share: Share, channel: str) -> None:
        """One voice: a newer request for money ends an older one that has not gone out."""
        if channel in share.latest:
            old = share.messages[share.latest[channel] - 1]
            if old.waits or old.state == "in_doubt":
                self.end(old, "superseded")

    def _one_wish(self, share: Share, channel: str, n: int) -> None:
        """A first route says one thing at a time, whichever channel the older one has come to."""
        for other in set(share.latest) & set(share.wanted) - {channel}:
            self._replace(share, other)
            share.latest[other] = n

    def enqueue(self, message: Message) -> None:
        self._entries += 1
        message.state, message.entry = "queued", self._entries

    def end(self, message: Message, outcome: str, why: str = "") -> None:
        doubted = message.state == "in_doubt"
        if message.maybe_second and message.waits:  # the second one never went out
            message.maybe_second = False
            self.duplicates -= 1
        for kind in "mdc":
            self.timers.pop((kind, message.id), None)
        message.state, message.outcome, message.why = "done", outcome, why
        if doubted:
            self.dead.discard(message.id)

    def bury(self, message: Message, why: str) -> None:
        """A dead letter, unless it asked for money that nobody is asked for any more."""
        share = message.share
        if not message.fenced or share.bill.asks(share):
            self.dead.add(message.id)
            message.buried = why

    def speak(self, share: Share, kind: str, **how: object) -> list[Message]:
        return [
            self.create(share, kind, channel, rung=share.route == "first", **how)  # type: ignore[arg-type]
            for channel in share.voices
        ]

    def move_on(self, message: Message) -> bool:
        """The next rung of a first route, once per message."""
        share = message.share
        if not message.rung or message.moved_on or message.said_by:
            return False
        message.moved_on = True
        if message.fenced and not (share.bill.asks(share) and message.newest):
            return False
        channel = share.rung_after(message.channel)
        if channel is None:
            return False
        message.next_rung = True
        valid = max(message.valid, self.now + share.confirm_within)
        self.create(
            share, message.kind, channel, valid=valid, lane=message.lane, rung=True, payment=message.payment,
            wish=message.wish,
        )  # fmt: skip
        return True

    def confirm(self, message: Message) -> None:
        share = message.share
        self.timers.pop(("c", message.id), None)
        message.confirmed, share.works = True, message.channel
        if not message.rung:
            return
        for other in share.messages[message.n :]:
            same_wish = (other.kind, other.payment, other.wished) == (
                message.kind,
                message.payment,
                message.wish,
            )
            if not other.rung or not same_wish or other.channel == message.channel:
                continue
            if other.waits or other.state == "in_doubt":
                self.end(other, "superseded")
            elif other.state == "handed_out" or other.outcome == "sent":
                other.said_by = message.channel

    def postpone(self, message: Message, at: int) -> None:
        message.state = "scheduled"
        self.timers["m", message.id] = at

    def await_confirmation(self, message: Message) -> None:
        if message.rung:
            self.timers["c", message.id] = self.now + message.share.confirm_within

    def hush(self, share: Share) -> int:
        """Nothing asks for this share's money any more; how many waiting messages ended."""
        self.timers.pop(("r", share.sid), None)
        canceled = 0
        for n in share.latest.values():
            message = share.messages[n - 1]
            canceled += message.waits
            if message.waits or message.state == "in_doubt":
                self.end(message, "canceled")
        for message in share.messages:
            if message.id in self.dead and message.fenced:
                if message.state == "in_doubt":
                    self.end(message, "canceled")
                self.dead.discard(message.id)
        return canceled

    # Shares

    def refusal(self, bill: Bill | None, job: Job) -> str | None:
        """Why this job cannot be taken; None if it can."""
        if not self.reach(job):
            return "channels"
        if bill is None:
            return None
        known = bill.amounts.get(job.term)
        if bill.kind != job.kind:
            return "kind"
        if bill.kind == "order" and bill.state != "open":
            return "dead"
        if known is not None and known != job.amount:
            return "amount"
        if known is not None and (bill.state == "stopped" or bill.balance(job.term) <= 0):
            return "dead"
        if bill.kind == "order" and known is None:
            return "term"
        return "contact" if self._group_of(bill, job) is None else None

    def _group_of(self, bill: Bill, job: Job) -> str | None:
        """A known address, or a new kind of address beside known ones, is the same contact; else it needs a word."""
        pairs = sorted(job.at.items(), key=kind_order)
        match = next((bill.contacts[pair] for pair in pairs if pair in bill.contacts), None)
        if job.additional or not bill.contacts:
            return match or f"group of {job.id}"
        for (kind, known), group in bill.contacts.items():
            mine = job.at.get(kind)
            if group == match and mine and mine != known and (kind, mine) not in bill.contacts:
                return None
        return match

    def reach(self, job: Job) -> list[str]:
        silent = self.silence(job.at)
        return [ch for ch in job.channels if KIND[ch] in job.at and ch not in silent]

    def silence(self, at: dict[str, str]) -> dict[str, str]:
        """What the owners of these addresses do not want, per channel."""
        pairs = {ch: (ch, at[kind]) for ch, kind in KIND.items() if kind in at}
        return {ch: self.consent[pair] for ch, pair in pairs.items() if pair in self.consent}

    def accept(self, job: Job, sid: str) -> bool:
        """Take a job that is not refused; whether it asks for money."""
        bill = self.bills.setdefault(job.number, Bill(job.number, job.kind))
        group = self._group_of(bill, job)
        assert group is not None
        if bill.state != "open":
            bill.state, bill.halted = "open", False
        bill.exact.setdefault(job.term, job.exact)
        if job.term not in bill.amounts:
            bill.amounts[job.term] = job.amount
            self._use_credit(bill)
        for pair in job.at.items():
            bill.contacts.setdefault(pair, group)
        plan = [at for at in job.plan if at > self.now]
        share = Share(
            sid, job.id, bill, job.term, job.route, job.channels, self.reach(job), dict(job.at), job.lane,
            job.confirm_within, plan, self.silence(job.at),
        )  # fmt: skip
        bill.shares.append(share)
        early = [p for p in self.payments.values() if p.number == job.number and p.early]
        for payment in sorted(early, key=lambda p: p.early_at):
            if not payment.counted and (bill.kind == "order" or self.now - payment.at <= EARLY_PAYMENT):
                payment.early = payment.for_staff = False
                self.allocate(bill, payment)
        if bill.state == "open" and not bill.owed:
            bill.state = "settled"
            self._end_shares(bill)
        if not bill.asks(share):
            return False
        self.speak(share, "instructions", valid=self.now + 7 * DAY)
        if plan:
            self.timers["r", sid] = plan[0]
        return True

    def resend(self, share: Share) -> bool:
        if not share.bill.asks(share) or not share.voices:
            return False
        self.speak(share, "instructions", valid=self.now + 7 * DAY, lane="u")
        return True

    def stop(self, number: str) -> int:
        bill = self.bills[number]
        bill.halted = True
        if bill.state in ("open", "closed"):
            bill.state = "stopped"
        canceled = 0
        for share in bill.shares:
            if share.state == "active":
                share.state = "stopped"
            canceled += self.hush(share)
        return canceled

    # Sending

    def hand_out(
        self, channel: str, consumer: str, most: int, bulk_most: int, quiet: int | None
    ) -> list[str]:
        if channel in self.paused:
            return []
        out = self._take(channel, "u", consumer, most, quiet)
        bulk = min(bulk_most, most - len(out))
        return out + self._take(channel, "b", consumer, bulk, quiet)

    def _take(self, channel: str, lane: str, consumer: str, most: int, quiet: int | None) -> list[str]:
        waiting = [m for m in self.messages if (m.channel, m.lane, m.state) == (channel, lane, "queued")]
        out = []
        for message in sorted(waiting, key=lambda m: m.entry)[: max(most, 0)]:
            if not self._held_back(message, quiet):
                message.state, message.consumer = "handed_out", consumer
                message.attempt += 1
                message.to = message.share.address(channel) or ""
                out.append(message.id)
        return out

    def _held_back(self, message: Message, quiet: int | None) -> bool:
        share, bill = message.share, message.share.bill
        if message.said_by:
            self.end(message, "superseded")
        elif message.valid <= self.now:
            self._give_up(message, "expired", "expired")
        elif self._needless(message):
            self.end(message, "canceled")
        elif message.fenced and not message.newest:
            self.end(message, "superseded")
        elif message.fenced and (bill.undecided or bill.hold > self.now):
            self.postpone(message, self.now + HOLD if bill.undecided else bill.hold)
        elif quiet is not None and message.kind != "receipt" and not self._just_asked_for(message):
            if message.kind == "payment_failed" and quiet >= message.valid:
                self.end(message, "canceled")
            else:
                self.postpone(message, quiet)
        elif not share.usable(message.channel):
            self._give_up(message, "suppressed", share.silent.get(message.channel, "no address"))
        else:
            return False
        return True

    def _needless(self, message: Message) -> bool:
        """Nothing is asked for any more, or its money went back."""
        share, bill = message.share, message.share.bill
        if message.kind == "receipt":
            return self.payments[bill.number, message.payment or ""].returned
        if message.kind == "payment_failed":
            return bill.state != "open" or bill.counted_at >= message.wish
        return message.fenced and not bill.asks(share)

    def _just_asked_for(self, message: Message) -> bool:
        fresh = self.now - message.wish < 600_000
        waits = message.kind == "payment_failed" or (message.kind == "instructions" and message.lane == "u")
        return waits and fresh and message.first_try

    def _give_up(self, message: Message, outcome: str, why: str, in_book: str | None = None) -> None:
        """It ends unsent: the next rung takes over, or staff see it."""
        self.end(message, outcome, in_book or why)
        if not self.move_on(message) and why != "opted out":
            self.bury(message, why)

    def _over(self, message: Message) -> bool:
        """What comes back and may not wait any more."""
        if message.said_by:
            self.end(message, "superseded")
        elif message.fenced and not message.share.bill.asks(message.share):
            self.end(message, "canceled")
        elif message.fenced and not message.newest:
            self.end(message, "superseded")
        else:
            return False
        return True

    def finish(
        self, local: str, attempt: int, result: str, *, at: int = 0, why: str = "", confirms: bool = False
    ) -> bool:
        """Record a result; False if it was stale."""
        m = self.message(local)
        late = result == "sent" and (m.state == "in_doubt" or (m.maybe_second and m.waits))
        if not late and (m.attempt != attempt or m.state != "handed_out"):
            self.stale += 1
            if result == "sent" and not m.provider_id:
                m.provider_id, m.rank = f"SM{local}", 1
            return False
        if m.provider_id and result in ("doubt", "retry", "unsent"):
            self._taken(m)
        elif result == "sent":
            m.rank, m.provider_id = max(m.rank, 1), f"SM{local}"
            self.end(m, "sent")
            if confirms or m.rank >= 5 or m.confirmed:
                self.confirm(m)
            else:
                self.await_confirmation(m)
        elif result in ("failed", "suppressed") and m.provider_id and m.rank != 4:
            self._taken(m)
        elif result in ("failed", "suppressed"):
            self.end(m, result, why)
            if not m.said_by and not self.move_on(m):
                self.bury(m, why)
        elif result == "doubt":
            self.doubt(m, at)
        elif not self._over(m):
            if result == "unsent":
                self.enqueue(m)
            elif at >= m.valid:
                self._give_up(m, "expired", why)
            else:
                m.tries += 1
                self.postpone(m, at)
        return True

    def doubt(self, message: Message, at: int) -> None:
        """Nobody knows whether it arrived, unless the provider has said so already."""
        if message.provider_id:
            self._taken(message)
            return
        message.state = "in_doubt"
        if message.said_by:
            self.end(message, "superseded")
            return
        self.timers["d", message.id] = at
        self.await_confirmation(message)

    def _taken(self, message: Message) -> None:
        """Its provider told of it before whoever sent it could."""
        self.end(message, "sent")
        if message.confirmed:
            self.confirm(message)
        elif message.rank < 4:
            self.await_confirmation(message)

    def lost(self, channel: str, wait: int) -> int:
        """The workers of a channel are gone; what they held is in doubt."""
        held = [m for m in self.messages if m.channel == channel and m.state == "handed_out"]
        for message in held:
            self.doubt(message, self.now + wait)
        return len(held)

    def give_back(self, channel: str, consumer: str) -> int:
        """A claim whose answer was lost."""
        held = [
            m for m in self.messages if (m.channel, m.state, m.consumer) == (channel, "handed_out", consumer)
        ]
        for message in sorted(held, key=lambda m: ("ub".index(m.lane), m.entry)):
            self.enqueue(message)
        return len(held)

    # Time

    def due(self, policies: dict[str, str]) -> int:
        come = sorted(
            (at, f"{kind}:{name}", kind, name) for (kind, name), at in self.timers.items() if at <= self.now
        )
        for _, _, kind, name in come:
            self.timers.pop((kind, name), None)
            if kind == "r":
                self._remind(next(share for share in self.shares if share.sid == name))
            elif kind == "m":
                if self.message(name).state == "scheduled":
                    self.enqueue(self.message(name))
            elif kind == "c":
                self._unconfirmed(self.message(name))
            else:
                self._decide(self.message(name), policies)
        return len(come)

    def _remind(self, share: Share) -> None:
        if not share.bill.asks(share):
            return
        come = [at for at in share.plan[share.reminded :] if at <= self.now]
        share.reminded += len(come)
        rest = share.plan[share.reminded :]
        if rest:
            self.timers["r", share.sid] = rest[0]
        if come:
            self.speak(share, "reminder", valid=rest[0] if rest else self.now + 2 * DAY)

    def _unconfirmed(self, m: Message) -> None:
        if m.state == "done":
            if m.outcome == "sent" and m.rank < 5:
                self.move_on(m)
        elif m.state == "in_doubt":
            self._give_up(m, "failed", "in doubt")
        elif m.state == "handed_out" or (m.attempt == 0 and m.channel not in self.paused):
            self.await_confirmation(m)
        elif m.share.rung_after(m.channel):
            self.end(m, "superseded")
            self.move_on(m)

    def _decide(self, m: Message, policies: dict[str, str]) -> None:
        """Nobody said what became of a message in doubt."""
        if m.state != "in_doubt":
            return
        if m.fenced and not m.share.bill.asks(m.share):
            self.end(m, "canceled")
        elif m.fenced and not m.newest:
            self.end(m, "superseded")
        elif m.maybe_second:
            self._give_up(m, "failed", "in doubt twice")
        elif policies[m.channel] == "resend" or not m.fenced:
            m.maybe_second = True
            self.duplicates += 1
            self.enqueue(m)
        elif m.valid <= self.now:
            self.end(m, "expired", "in doubt")
            self.bury(m, "in doubt")
        else:
            self.bury(m, "in doubt")
            self.timers["d", m.id] = m.valid

    # Reports, staff and people

    def delivered(
        self, m: Message, provider_id: str, rank: int, *, confirms: bool, again: int | None
    ) -> bool:
        if rank == 4 and m.provider_id and m.provider_id != provider_id:
            return False
        if m.state == "in_doubt" or (m.maybe_second and m.waits and rank != 4):
            m.provider_id, m.rank = provider_id, rank
            self.end(m, "sent")
            self.await_confirmation(m)
        elif rank <= m.rank:
            return False
        else:
            m.rank, m.provider_id = rank, m.provider_id or provider_id
        if rank >= 5:
            self.dead.discard(m.id)
            second = self.message(m.replayed) if m.replayed else None
            if second is not None and second.maybe_second and second.waits:
                self.end(second, "superseded")
        if confirms:
            self.confirm(m)
        elif rank == 4:
            self._not_delivered(m, again)
        return True

    def _not_delivered(self, m: Message, again: int | None) -> None:
        share = m.share
        self.timers.pop(("c", m.id), None)
        if m.next_rung or self.move_on(m) or m.said_by:
            return
        if m.fenced and not (share.bill.asks(share) and m.newest):
            return
        if again is not None and m.again < 5 and again < m.valid and share.usable(m.channel):
            made = self.create(
                share, m.kind, m.channel, at=again, lane=m.lane, valid=m.valid, rung=m.rung, payment=m.payment,
                wish=m.wish,
            )  # fmt: skip
            made.again = m.again + 1
            if m.outcome != "sent":
                self.dead.discard(m.id)
                m.replayed = made.id
        else:
            self.bury(m, share.silent.get(m.channel, "undelivered") if again is None else "undelivered")

    def replay(self, m: Message) -> str:
        """'ok', 'closed' or 'refused'."""
        share = m.share
        if m.replayed:
            return "ok"
        unsent = m.state == "done" and m.outcome in ("failed", "expired", "suppressed") and not m.moved_on
        if m.id not in self.dead and not unsent:
            return "refused"
        if m.fenced and not share.bill.asks(share):
            return "closed"
        failed = m.kind == "payment_failed"
        if failed and m.valid <= self.now:
            self.dead.discard(m.id)
            return "closed"
        here = not m.rung or (m.state == "in_doubt" and share.usable(m.channel))
        channel = m.channel if here else share.rung_after(None)
        if channel is None or not share.usable(channel):
            return "refused"
        second = channel == m.channel and (self.maybe_arrived(m) or m.maybe_second)
        if m.state == "in_doubt":
            self.end(m, "superseded")
        self.dead.discard(m.id)
        made = self.create(
            share, m.kind, channel, lane="u", valid=m.valid if failed else self.now + 7 * DAY, rung=m.rung,
            payment=m.payment, maybe_second=second, wish=m.wish if failed else None,
        )  # fmt: skip
        m.replayed = made.id
        return "ok"

    def maybe_arrived(self, m: Message) -> bool:
        return m.state == "in_doubt" or (m.buried or m.why).startswith("in doubt")

    def opt_out(self, channel: str, address: str, why: str) -> int:
        """A no of the person's own takes the place of what was only found out, and stands."""
        if why == "opted out":
            self.consent[channel, address] = why
        self.consent.setdefault((channel, address), why)
        silenced = 0
        for share in self.shares:
            if share.address(channel) == address:
                if share.silent.get(channel) != "opted out":
                    share.silent[channel] = why
                message = share.messages[share.latest[channel] - 1] if channel in share.latest else None
                if message is not None and message.waits and message.channel == channel:
                    self._give_up(message, "suppressed", share.silent[channel])
                    silenced += 1
        return silenced

    def opt_in(self, channel: str, address: str) -> None:
        self.consent.pop((channel, address), None)
        for share in self.shares:
            if share.address(channel) == address:
                share.silent.pop(channel, None)

    def edit(self, share: Share, kind: str, address: str) -> bool:
        """False if the address is another contact's of this number."""
        bill, old = share.bill, share.at.get(kind)
        pairs = sorted(share.at.items(), key=kind_order)
        group = next((bill.contacts[pair] for pair in pairs if pair in bill.contacts), None)
        owner = bill.contacts.get((kind, address))
        if owner and group and owner != group:
            return False
        bill.contacts[kind, address] = group or owner or f"group of {share.sid} {address}"
        share.at[kind] = address
        if old != address and share.works and KIND[share.works] == kind:
            share.works = None
        for channel in [ch for ch, of in KIND.items() if of == kind]:
            share.silent.pop(channel, None)
        share.silent.update(self.silence({kind: address}))
        share.channels = [
            ch
            for ch in share.wanted
            if share.address(ch) and (ch in share.channels or ch not in share.silent)
        ]
        if old and not any(other.at.get(kind) == old for other in bill.shares):
            bill.contacts.pop((kind, old), None)
        return True

    # Payments

    def settle(self, number: str, id: str, amount: int, status: str, at: int) -> str:
        """What became of one thing said about one payment."""
        rank = {"PROCESSING": 1, "FAILED": 2, "SUCCESS": 3, "SETTLED": 4, "REVERSED": 5}[status]
        bill, p = self.bills.get(number), self.payments.get((number, id))
        known = p is not None
        if p is None:
            p = self.payments[number, id] = Payment(id, number, amount, rank, at)
        elif rank <= p.rank:
            return "repeated"
        else:
            p.rank = rank
            if not p.counted and amount > 0:
                p.amount = amount
        if status == "REVERSED":
            self._returned(bill, p)
            return "advanced"
        if status in ("PROCESSING", "FAILED"):
            return self._attempted(bill, p, known=known, failed=status == "FAILED")
        if p.counted or (p.told and not (p.why == "no amount" and p.amount > 0)):
            return "advanced"
        p.told = True
        if p.amount <= 0:
            return self._keep(bill, p, "no amount")
        if bill is None:
            p.early, p.early_at = True, at
            return self._keep(None, p, "unknown number")
        stopped, bill.state = bill.state == "stopped", "open" if bill.state == "stopped" else bill.state
        outcome = self.allocate(bill, p)
        if stopped and bill.state == "open":
            bill.state = "stopped"
        return outcome

    def _returned(self, bill: Bill | None, p: Payment) -> None:
        if p.returned:
            return
        p.returned = True
        if bill and p.counted:
            self._owed_again(bill, p)
            self._keep(bill, p, "returned")
            p.counted = True
            self._tell(bill, "correction", set(p.given) or None, p, self.now + 30 * DAY)
        else:
            p.for_staff = p.early = False
            p.why = "returned before it was counted"
            self._unhold(bill, p)

    def _owed_again(self, bill: Bill, p: Payment) -> None:
        """Its money went back; what was stopped stays so, and an order number takes no more."""
        for term, amount in p.given.items():
            bill.paid[term] -= amount
        bill.credit -= p.credit
        self._use_credit(bill)
        if not bill.owed or bill.state not in ("settled", "open"):
            return
        if bill.state == "settled" and bill.halted:
            bill.state = "stopped"
        elif bill.state == "settled" and bill.kind == "order":
            bill.state = "closed"
        else:
            bill.state = "open"
            for share in bill.shares:
                if share.state == "paid" and bill.balance(share.term) > 0:
                    self._ask_again(share)

    def _ask_again(self, share: Share) -> None:
        share.state = "active"
        share.reminded = sum(at <= self.now for at in share.plan)
        self.timers.pop(("r", share.sid), None)
        if share.reminded < len(share.plan):
            self.timers["r", share.sid] = share.plan[share.reminded]

    def _attempted(self, bill: Bill | None, p: Payment, *, known: bool, failed: bool) -> str:
        if (
            failed
            and not known
            and bill
            and bill.state == "open"
            and bill.told_failed + FAILED_AGAIN <= self.now
        ):
            bill.told_failed = self.now
            self._tell(bill, "payment_failed", None, p, self.now + 6 * 3_600_000)
        return "advanced" if known else "failed" if failed else "noted"

    def _keep(self, bill: Bill | None, p: Payment, why: str) -> str:
        p.counted, p.why, p.for_staff = False, why, True
        if bill and not p.holds:
            p.holds = True
            bill.undecided += 1
        return "unmatched"

    def _unhold(self, bill: Bill | None, p: Payment) -> None:
        if bill and p.holds:
            bill.undecided -= 1
            p.holds = False

    def allocate(self, bill: Bill, p: Payment, *, decided: bool = False) -> str:
        """Give money to the oldest unpaid term first."""
        dead = bill.kind == "order" and bill.state in ("closed", "settled") and not bill.owed
        if dead and not decided:
            return self._keep(bill, p, "closed")
        first = next((term for term in bill.amounts if bill.balance(term) > 0), None)
        fits = not first or not bill.exact[first] or p.amount in (bill.balance(first), bill.owed)
        if not fits and not decided:
            return self._keep(bill, p, "wrong amount")
        rest, told = p.amount, set()
        for term in bill.amounts:
            take = min(rest, max(bill.balance(term), 0))
            if take:
                bill.paid[term] = bill.paid.get(term, 0) + take
                rest -= take
                told.add(term)
                p.given[term] = take
        bill.credit += rest
        p.credit = rest
        p.counted, p.for_staff, p.why = True, False, ""
        bill.counted_at = self.now
        self._unhold(bill, p)
        if bill.owed == 0 or bill.kind == "order":
            bill.state = "settled" if bill.owed == 0 else "closed"
        self._end_shares(bill)
        self._tell(bill, "receipt", told or None, p, self.now + 30 * DAY)
        return "over" if rest else "partial" if bill.owed else "settled"

    def _end_shares(self, bill: Bill) -> None:
        for share in bill.shares:
            if bill.state != "open" or bill.balance(share.term) <= 0:
                share.state = "paid" if share.state == "active" else share.state
                self.hush(share)

    def _use_credit(self, bill: Bill) -> None:
        """What was paid too much pays what else is owed under the number, and belongs to the newest payments first."""
        mine = [p for p in self.payments.values() if p.number == bill.number and p.counted and not p.returned]
        for term in bill.amounts:
            take = min(bill.credit, max(bill.balance(term), 0))
            if take <= 0:
                continue
            bill.paid[term] = bill.paid.get(term, 0) + take
            bill.credit -= take
            for p in sorted(mine, key=lambda p: p.at, reverse=True):
                part = min(p.credit, take)
                if part:
                    take -= part
                    p.credit -= part
                    p.given[term] = p.given.get(term, 0) + part

    def _tell(self, bill: Bill, kind: str, terms: set[str] | None, p: Payment, valid: int) -> None:
        """One receipt per payment, channel and address; one in all for a contact on a first route."""
        seen = set()
        for share in sorted(bill.shares, key=lambda share: share.sid):
            for channel in share.voices if terms is None or share.term in terms else []:
                whole = share.route == "first"
                mark = ("first", bill.group(share)) if whole else (channel, str(share.address(channel)))
                if mark not in seen:
                    seen.add(mark)
                    self.create(share, kind, channel, lane="u", valid=valid, payment=p.id, rung=whole)

    # What holds at every moment

    def counts(self, states: Sequence[str]) -> dict[str, int]:
        return {state: sum(m.state == state for m in self.messages) for state in states}
