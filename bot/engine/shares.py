"""Taking share jobs: claimed by id, accepted on the bill, checked against consent, confirmed.

Each step is one atomic script and may be repeated, so a crash between two of them loses nothing and doubles
nothing: intake drives unconfirmed claims again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec

from bot.domain.bill import AcceptedShare, ShareContact, ShareView, SkippedChannel
from bot.domain.calendar import from_ms, reminder_times, to_ms
from bot.domain.creation import NO_CLICKPESA
from bot.domain.money import plain, to_minor
from bot.domain.share import Customer, ShareJob
from bot.engine import keys, pageview, views
from bot.engine.bill_claims import LOOK_S, BillClaims
from bot.engine.contacts import Contacts, addresses
from bot.engine.edits import ContactEdits
from bot.engine.pageview import Page
from bot.engine.records import Records
from bot.engine.scripts import Call, now_ms, text
from bot.engine.together import Together
from bot.errors import Conflict, NotFound, Problem, Refused, StoreFull, StoreUnavailable
from bot.settings import Settings
from channels.base import ChannelName

# How long instructions stay worth sending; a reminder is valid until the next one.
INSTRUCTIONS_VALID = timedelta(days=7)
_REDRIVE_AFTER_MS = 15_000
_LOST, _NOT_SO = -1, -2  # see Scripts.confirm
_PAYMENTS_SHOWN = 24
_NEEDS = {"sms": "customer.phone", "whatsapp": "customer.phone", "email": "customer.email"}


@dataclass(frozen=True, slots=True)
class Reach:
    """How a job's contact can be reached now: usable channels, the rest with reasons, consent as read."""

    usable: tuple[str, ...]
    skipped: tuple[SkippedChannel, ...]
    suppressed: Mapping[str, str]
    chat: str | None
    wallet: str | None
    said: tuple[Mapping[str, str], ...]  # of each address, as it was read


_UNSIGNED = (
    "callback_url: no event goes out, because TUMA_CALLBACK_SECRET is not set and none goes out unsigned"
)


class Shares:
    """The shares of all partitions."""

    def __init__(
        self, records: Records, contacts: Contacts, bill_claims: BillClaims, settings: Settings
    ) -> None:
        self._records, self._contacts, self._settings = records, contacts, settings
        self._bill_claims = bill_claims
        self._off, self._policy = settings.channels_off(), settings.payment_policy()
        self._edits = ContactEdits(records, contacts)
        self._accept_one = Together(self.accept_many)

    async def accept(self, job: ShareJob) -> AcceptedShare:
        """Take one job; when this returns it is on disk.

        Raises Conflict (same id with other content, or a bill that says otherwise), Refused, StoreUnavailable.
        """
        answer = await self._accept_one(job)
        if isinstance(answer, Refused):
            raise answer
        return answer

    async def accept_and_wait(self, job: ShareJob, wait_ms: int | None = None) -> AcceptedShare:
        """The same; a share whose number is being made waits for it up to `wait_ms` (default: the setting).

        Raises Refused also when ClickPesa will not make the number.
        """
        accepted = await self.accept(job)
        until = time.monotonic() + (self._settings.create_answer_ms if wait_ms is None else wait_ms) / 1000
        while accepted.state == "creating" and time.monotonic() < until:
            await asyncio.sleep(LOOK_S)
            found = await self.made(job.id)
            if isinstance(found, Refused):
                raise found
            if found is not None:
                accepted = msgspec.structs.replace(found, repeated=accepted.repeated)
        return accepted

    async def made(self, share_id: str) -> AcceptedShare | Refused | None:
        """What became of a share whose number was to be made; None while it is. Raises NotFound."""
        claim = await self._claim_of(share_id)
        if claim["st"] == "refused":
            return Refused(Problem(field="bill.create", message=claim["why"]))
        return await self._repeated(claim["num"], claim["sid"]) if claim["st"] == "done" else None

    async def accept_many(
        self, jobs: Sequence[ShareJob], raws: Sequence[str] | None = None
    ) -> list[AcceptedShare | Refused]:
        """Take many jobs in a few round trips; answers stand in the order of the jobs.

        A job whose number is to be made is answered as `creating`. Should that be refused later, `raws`, each an entry
        of the inbox and the job as it came, go to the rejected stream with the reason.
        """
        jobs = list(jobs)
        answers: list[AcceptedShare | Refused | None] = [self._impossible(job) for job in jobs]
        open_jobs = [i for i, answer in enumerate(answers) if answer is None]
        claims, reaches = await self._claim([(jobs[i], raws[i] if raws else "") for i in open_jobs])
        todo: list[tuple[int, str, Reach]] = []
        repeated: list[str] = []
        for i, (state, sid, number), reach in zip(open_jobs, claims, reaches, strict=True):
            if state == "conflict":
                answers[i] = Conflict(
                    Problem(field="id", message="was used before for a job with other content")
                )
            elif state == "done":
                answers[i] = await self._repeated(number, sid)
                repeated.append(keys.prefix(self._records.partition(number)))
            elif not number:
                answers[i] = await self._creating(jobs[i], sid, reach, fresh=state == "new")
                repeated.append(keys.prefix(self._records.partition(jobs[i].id)))
            else:
                jobs[i] = _numbered(jobs[i], number)
                todo.append((i, sid, reach))
        if repeated:
            # The first telling may have ended before a replica had it; a claim is all there is of one without number.
            await self._records.scripts.reached(dict.fromkeys(repeated))
        for i, answer in zip([t[0] for t in todo], await self._complete(jobs, todo), strict=True):
            answers[i] = answer
        return [
            self._warned(job, answer) for job, answer in zip(jobs, answers, strict=True) if answer is not None
        ]

    def _warned(self, job: ShareJob, answer: AcceptedShare | Refused) -> AcceptedShare | Refused:
        if isinstance(answer, Refused) or job.callback_url is None or self._settings.callback_secret:
            return answer
        return msgspec.structs.replace(answer, warnings=[_UNSIGNED])

    async def get(self, share_id: str) -> ShareView:
        """A share by the producer's id. Raises NotFound."""
        claim = await self._claim_of(share_id)
        if claim["st"] != "done":
            return views.unmade_share(self._records.partition(share_id), share_id, claim)
        return await self.view(self._records.partition(claim["num"]), claim["sid"])

    async def _claim_of(self, share_id: str) -> dict[str, str]:
        claim = await self._records.claim(share_id)
        if not claim:
            raise NotFound(f"no share {share_id}")
        return claim

    async def view(self, p: int, sid: str) -> ShareView:
        """A share by its place. Raises NotFound."""
        fields = await self._records.share(p, sid)
        messages = await self._records.messages_of(p, fields)
        return views.share(p, fields, messages)

    async def by_token(self, token: str) -> Page:
        """What the page behind a token may show, in one round trip. Raises NotFound."""
        p, sid = keys.parse_token(token, self._records.partitions)
        scripts = self._records.scripts
        share, account, payments = await scripts.run(scripts.page(p, sid, _PAYMENTS_SHOWN))
        if not share:
            raise NotFound("no such page")
        return pageview.page(p, share, account, payments)

    async def resend(self, share_id: str, *, by: str, channel: str | None = None) -> list[str]:
        """Send a share's instructions again; ids of the new messages. Raises NotFound, Refused."""
        found = await self.get(share_id)
        p, sid = keys.parse_token(found.token, self._records.partitions)
        now = now_ms()
        call = self._records.scripts.resend(p, now, sid, channel or "", now + _ms(INSTRUCTIONS_VALID))
        made = _resent(await self._records.scripts.run(call), "channel" if channel else "share")
        await self._records.audit(by, "resend", found.number, now)
        return [keys.message_id(p, local) for local in made]

    async def edit_contact(
        self,
        share_id: str,
        *,
        phone: str | None = None,
        email: str | None = None,
        telegram: str | None = None,
        by: str,
    ) -> ShareContact:
        """Give a share's contact other addresses, each in its parsed form (bot.domain.edit); None leaves one as it is.

        What waits goes to the new address, and reminders do; nothing that went out before is sent again by this.
        Raises NotFound; Refused if no address is given, or it is another contact's of this number. May be repeated.
        """
        claim = await self._claim_of(share_id)
        given = Customer(name=None, phone=phone, email=email, telegram=telegram, locale="")
        edited = await self._edits.edit(claim["num"], claim["sid"], given)
        await self._records.audit(by, "edit contact", share_id, now_ms())
        return edited

    async def redrive(self, limit: int = 100) -> int:
        """Complete claims whose maker was lost between two steps; how many."""
        driven = 0
        for p in range(self._records.partitions):
            for name, job in await self._records.overdue_claims(p, now_ms() - _REDRIVE_AFTER_MS, limit):
                await self._complete_claim(p, name, job)
                driven += 1
        return driven

    async def complete_claim(self, p: int, name: str) -> None:
        """Go on with a claim that has its number. May be repeated."""
        job = await self._records.open_job(p, name)
        if job is not None:
            await self._complete_claim(p, name, job)

    async def _complete_claim(self, p: int, name: str, job: str) -> None:
        if keys.is_bill(name):
            await self._bill_claims.complete(p, name, job)
        else:
            await self.accept_many([msgspec.json.decode(job, type=ShareJob)])

    async def reject_claim(self, p: int, name: str, why: str) -> None:
        """Put a job of the inbox, whose number cannot be made, on the rejected stream."""
        claim = await self._records.client_hash(keys.claim(p, name))
        if claim.get("raw"):
            entry, _, job = claim["raw"].partition(" ")
            await self._records.reject(job, Refused(Problem(field="bill.create", message=why)), entry)

    def _impossible(self, job: ShareJob) -> Refused | None:
        if job.bill.number is None and not self._settings.makes_numbers:
            return Refused(msgspec.structs.replace(NO_CLICKPESA, field="bill.create"))
        return None

    async def _creating(
        self, job: ShareJob, sid: str, reach: Reach, *, fresh: bool
    ) -> AcceptedShare | Refused:
        """The answer while the number is being made. Nothing is made for somebody who cannot be told."""
        p = self._records.partition(job.id)
        if fresh and not reach.usable:
            await self._records.scripts.run(
                self._records.scripts.confirm(p, job.id, sid, accepted=None, why="no channel")
            )
            return _unreachable(reach)
        return AcceptedShare(
            id=job.id,
            state="creating",
            number="",
            term=job.bill.term,
            token=keys.token(p, sid),
            channels=list(reach.usable),
            skipped=list(reach.skipped),
            messages=[],
            next_reminder_at=None,
            settled=False,
            repeated=not fresh,
        )

    async def _claim(
        self, jobs: Sequence[tuple[ShareJob, str]]
    ) -> tuple[list[tuple[str, str, str]], list[Reach]]:
        """Take their ids, and read in the same round trip how their contacts can be reached."""
        scripts, customers = self._records.scripts, [job.customer for job, _ in jobs]
        claims: list[Call[Any]] = [
            scripts.claim(
                self._records.partition(job.id),
                job.id,
                job.digest,
                text(job.bill.number),
                msgspec.json.encode(job).decode(),
                lane="u" if job.lane == "urgent" else "b",
                raw=raw,
            )
            for job, raw in jobs
        ]
        replies = await scripts.run_many([*claims, *self._contacts.asked(customers)])
        answers = iter(replies[len(jobs) :])
        said = [tuple([next(answers) for _ in addresses(one)]) for one in customers]
        consents = await self._contacts.understood(said)
        reaches = [
            self._reach(job, consent, each)
            for (job, _), consent, each in zip(jobs, consents, said, strict=True)
        ]
        return replies[: len(jobs)], reaches

    def _reach(self, job: ShareJob, consent: Mapping[str, str], said: tuple[Mapping[str, str], ...]) -> Reach:
        chat = job.customer.telegram or consent.get("chat")
        suppressed = {field[2:]: why for field, why in consent.items() if field.startswith("x:")}
        usable, skipped = [], []
        for channel in job.route.channels:
            why = self._obstacle(job, channel, chat, suppressed)
            if why is None:
                usable.append(str(channel))
            else:
                skipped.append(SkippedChannel(str(channel), why))
        return Reach(tuple(usable), tuple(skipped), suppressed, chat, consent.get("w"), said)

    def _obstacle(
        self, job: ShareJob, channel: ChannelName, chat: str | None, suppressed: Mapping[str, str]
    ) -> str | None:
        if channel in self._off:
            return f"off: set {self._off[channel]}"
        if channel is ChannelName.TELEGRAM and not chat:
            return "the customer has not linked Telegram yet"
        if channel in _NEEDS and not getattr(job.customer, _NEEDS[channel].split(".")[1]):
            return f"no {_NEEDS[channel]}"
        if channel in suppressed:
            return f"suppressed: {suppressed[channel]}"
        return None

    async def _complete(
        self, jobs: Sequence[ShareJob], todo: Sequence[tuple[int, str, Reach]]
    ) -> list[AcceptedShare | Refused]:
        """Accept, apply what consent changed meanwhile, confirm or release."""
        scripts = self._records.scripts
        now = now_ms()
        # Also without a usable channel: what an earlier try accepted must be found before it is refused.
        plans = [self._plan(jobs[i], now) for i, _, _ in todo]
        calls = [
            scripts.accept(self._place(jobs[i]), now, self._accept_args(jobs[i], sid, reach, now, plan))
            for (i, sid, reach), plan in zip(todo, plans, strict=True)
        ]
        noting, confirming = self._at_once([(jobs[i], sid, reach) for i, sid, reach in todo])
        try:
            said = await scripts.run_many_kept([*calls, *noting, *confirming.values()])
        except StoreFull:
            await self._release([(jobs[i], sid) for i, sid, _ in todo])
            raise
        replies = said[: len(calls)]
        confirmed = dict(zip(confirming, said[len(calls) + len(noting) :], strict=True))
        sids = [self._accepted_as(sid, reply) for (_, sid, _), reply in zip(todo, replies, strict=True)]
        open_ = [n for n in range(len(todo)) if confirmed.get(n, _NOT_SO) == _NOT_SO]
        await self._contacts.touch(
            [
                (jobs[todo[n][0]], sid, todo[n][2].suppressed, todo[n][2].chat)
                for n in open_
                if (sid := sids[n]) is not None
            ]
        )
        await self._confirm(
            [
                (jobs[todo[n][0]], todo[n][1], sids[n], "" if sids[n] else " ".join(replies[n][1:]))
                for n in open_
            ]
        )
        _check_claims(confirmed.values())
        return [
            await self._answer(jobs[i], sid, reach, reply, plan)
            for (i, sid, reach), reply, plan in zip(todo, replies, plans, strict=True)
        ]

    def _at_once(
        self, todo: Sequence[tuple[ShareJob, str, Reach]]
    ) -> tuple[list[Call[Any]], dict[int, Call[int]]]:
        """On one server: what indexes the shares under their contacts, and by place in `todo` what confirms them.

        Asked right behind what accepts them, each does nothing where its share was not made, the latter also where a
        contact has said something new meanwhile: that is then looked at.
        """
        scripts, noting, confirming = self._records.scripts, list[Call[Any]](), dict[int, Call[int]]()
        for n, (job, sid, reach) in enumerate([] if scripts.spread else todo):
            number, share = text(job.bill.number), f"{keys.prefix(self._place(job))}s:{sid}"
            as_said = self._contacts.as_said(number, job.customer, reach.said)
            if as_said is None:
                continue
            noting += self._contacts.noting(number, job.customer, share)
            p = self._records.partition(job.id)
            confirming[n] = scripts.confirm(p, job.id, sid, accepted=sid, given=(share, *as_said))
        return noting, confirming

    def _accepted_as(self, sid: str, reply: list[str]) -> str | None:
        if reply[0] == "refused":
            return None
        return reply[1] if reply[0] == "repeated" else sid

    async def _confirm(self, claims: Sequence[tuple[ShareJob, str, str | None, str]]) -> None:
        """Confirm or release; a claim is not released while a racing repeat has made its share meanwhile."""
        scripts = self._records.scripts
        refused = [(job, sid) for job, sid, accepted, _ in claims if accepted is None]
        places = [f"{keys.prefix(self._place(job))}s:{sid}" for job, sid in refused]
        made = dict(zip([job.id for job, _ in refused], await self._records.hashes(places), strict=True))
        confirmed = await scripts.run_many(
            [
                scripts.confirm(
                    self._records.partition(job.id),
                    job.id,
                    sid,
                    accepted=sid if accepted is None and made[job.id] else accepted,
                    why=why,
                    sync=self._settings.makes_numbers,
                )
                for job, sid, accepted, why in claims
            ]
        )
        _check_claims([there for there, claim in zip(confirmed, claims, strict=True) if claim[2]])

    async def _release(self, claims: Sequence[tuple[ShareJob, str]]) -> None:
        """Give back the ids of shares that were not made, so that what was refused is not made by itself later."""
        scripts = self._records.scripts
        made = await self._records.hashes([f"{keys.prefix(self._place(job))}s:{sid}" for job, sid in claims])
        await scripts.run_many(
            [
                scripts.confirm(self._records.partition(job.id), job.id, sid, accepted=None)
                for (job, sid), share in zip(claims, made, strict=True)
                if not share and job.bill.create is None  # a made number waits until there is room
            ]
        )

    def _place(self, job: ShareJob) -> int:
        return self._records.partition(text(job.bill.number))

    async def _answer(
        self, job: ShareJob, sid: str, reach: Reach, reply: list[str], plan: Sequence[int]
    ) -> AcceptedShare | Refused:
        if reply[:2] == ["refused", "channels"]:
            return _unreachable(reach)
        if reply[0] == "refused":
            return _refusal(job, reply[1], reply[2])
        if reply[0] == "repeated":
            return await self._repeated(text(job.bill.number), reply[1])
        p = self._place(job)
        return AcceptedShare(
            id=job.id,
            state="paid" if reply[1] == "1" else "active",
            number=text(job.bill.number),
            term=job.bill.term,
            token=keys.token(p, sid),
            channels=list(reach.usable),
            skipped=list(reach.skipped),
            messages=[keys.message_id(p, local) for local in reply[2:]],
            next_reminder_at=from_ms(plan[0]) if plan and reply[1] == "0" else None,
            settled=reply[1] == "1",
            repeated=False,
        )

    async def _repeated(self, number: str, sid: str) -> AcceptedShare | Refused:
        p = self._records.partition(number)
        try:
            found = await self.view(p, sid)
        except NotFound:
            return Refused(Problem(field="id", message="was used before, for a share that is no longer kept"))
        first = [m.id for m in found.messages if m.kind == "instructions"]
        return AcceptedShare(
            id=found.id,
            state=found.state,
            number=found.number,
            term=found.term,
            token=found.token,
            channels=found.channels,
            skipped=found.skipped,
            messages=first[: len(found.channels)],
            next_reminder_at=found.next_reminder_at,
            settled=found.state == "paid",
            repeated=True,
        )

    def _plan(self, job: ShareJob, now: int) -> list[int]:
        if job.bill.due_at is None:
            return []
        at = from_ms(max(now, to_ms(job.send_at) if job.send_at else now))
        return [
            to_ms(when)
            for when in reminder_times(job.bill.due_at, job.reminders, at, zone=self._settings.zone)
        ]

    def _accept_args(
        self, job: ShareJob, sid: str, reach: Reach, now: int, plan: Sequence[int]
    ) -> dict[str, Any]:
        bill, customer = job.bill, job.customer
        start = max(now, to_ms(job.send_at)) if job.send_at else now
        blob = msgspec.json.encode(views.Blob(template=job.template, data=job.data)).decode()
        linkable = (
            ChannelName.TELEGRAM in job.route.channels and not reach.chat and "telegram" not in self._off
        )
        args: dict[str, Any] = {
            "sid": sid,
            "id": job.id,
            "num": bill.number,
            "kind": bill.kind,
            "term": bill.term,
            "amount": str(to_minor(bill.amount, bill.currency)),
            "cur": bill.currency,
            "desc": text(bill.description),
            "due": str(to_ms(bill.due_at)) if bill.due_at else "",
            "mode": bill.mode,
            "name": text(customer.name),
            "called": text(customer.name).casefold(),
            "phone": text(customer.phone),
            "email": text(customer.email),
            "telegram": text(customer.telegram),
            "chat": text(reach.chat),
            "wallet": text(reach.wallet),
            "additional": "1" if job.additional_contact else "0",
            "route": job.route.mode,
            "channels": " ".join(reach.usable),
            "want": " ".join(c for c in job.route.channels if c not in self._off),
            "confirm": str(_ms(job.route.confirm_within)),
            "locale": customer.locale,
            "lane": "u" if job.lane == "urgent" else "b",
            "callback": text(job.callback_url),
            "blob": "" if blob == "{}" else blob,
            "skip": msgspec.json.encode(reach.skipped).decode() if reach.skipped else "",
            "plan": " ".join(map(str, plan)),
            "send_at": str(start) if job.send_at else "",
            "valid": str(start + _ms(INSTRUCTIONS_VALID)),
            "link": keys.fresh_secret() if linkable else "",
            "suppressed": dict(reach.suppressed),
            "early": str(self._settings.early_payment_ms),
            "made": "1" if bill.create else "0",
            "rem": views.plan_text(job.reminders),
            "policy": self._policy,
        }
        return {name: value for name, value in args.items() if value}


def _check_claims(confirmed: Iterable[int]) -> None:
    if any(there == _LOST for there in confirmed):
        # A failover to a server that never had the claim: the share is there, and repeating it finds it.
        raise StoreUnavailable("Redis changed hands meanwhile; send it again, unchanged")


def _numbered(job: ShareJob, number: str) -> ShareJob:
    """The job with the control number that was made for it."""
    if job.bill.number is not None:
        return job
    return msgspec.structs.replace(job, bill=msgspec.structs.replace(job.bill, number=number))


def _unreachable(reach: Reach) -> Refused:
    return Refused(
        *(Problem(field="route.channels", message=f"{skip.channel}: {skip.reason}") for skip in reach.skipped)
    )


def _ms(span: timedelta) -> int:
    return int(span.total_seconds() * 1000)


def _resent(reply: list[str], field: str) -> list[str]:
    if reply[0] == "unknown":
        raise NotFound("no such share")
    if reply[0] == "refused":
        raise Refused(Problem(field=field, message=f"cannot be sent again: {reply[1]}"))
    return reply[1:]


def _refusal(job: ShareJob, code: str, detail: str) -> Refused:
    bill = job.bill
    if code == "amount":
        known = plain(int(detail), bill.currency)
        return Conflict(
            Problem(
                field="bill.amount",
                message=f"this number's term {bill.term} is on record with another amount",
                given=str(bill.amount),
                expected=f"{known}, or a new bill.term",
            )
        )
    if code == "dead":
        return Refused(
            Problem(field="bill.number", message=f"this number is {detail}; nothing is sent for it")
        )
    if code == "contact":
        return Refused(
            Problem(
                field="customer",
                message="another contact holds this number",
                expected='the contact on record, or "additional_contact": true',
            )
        )
    expected = {"currency": detail, "kind": detail, "term": f"{detail}: an order number is one bill"}[code]
    return Conflict(
        Problem(field=f"bill.{code}", message="differs from the bill on record", expected=expected)
    )
