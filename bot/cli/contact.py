"""`tuma contact`: what is known of a person's address, what they agreed to, and how to correct it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, Misused, emit, facts, note, say, table
from bot.errors import Problem
from channels.name import ChannelName

if TYPE_CHECKING:
    from bot.domain.bill import ShareContact
    from bot.engine.contacts import ContactView

app = typer.Typer(help="Addresses, consent and chats of one contact.", no_args_is_help=True)

_CHAT = "telegram:"
_ADDRESS_HELP = (
    "Phone (+255754123456 or 0754123456), mail address, or Telegram chat (telegram:123456789). Bare digits are "
    "taken only if they cannot be both a phone and a chat."
)
Address = Annotated[str, typer.Argument(metavar="CONTACT", help=_ADDRESS_HELP)]
Channel = Annotated[ChannelName, typer.Argument(metavar="CHANNEL", help="sms, whatsapp, email or telegram.")]
Proof = Annotated[str, typer.Option(help="How the person said so; kept as proof.")]


@app.command("show")
def show_command(contact: Address, as_json: JsonFlag = False) -> None:
    """Show a contact's opt-outs and the bills that they get."""
    settings = runtime.settings()
    address = normalised(contact, settings.region)
    found = _linked(runtime.with_engine(lambda engine: engine.contacts.show(address), settings))
    if as_json:
        emit(found)
        return
    facts(
        {
            "Contact": f"{found.address} ({found.kind})",
            "Telegram": "linked" if found.telegram else None,
            "Last message from them": found.last_inbound_at,
            "Bills": found.numbers,
        }
    )
    stopped = ((one.channel, one.reason, one.at, one.proof) for one in found.suppressed)
    table(("Channel", "Reason", "Since", "Proof"), stopped, title="Stopped channels")


@app.command("link")
def link_command(
    token: Annotated[str, typer.Argument(help="What follows /start in the customer's Telegram link.")],
    chat: Annotated[str, typer.Argument(help="Telegram chat id, in digits.")],
    as_json: JsonFlag = False,
) -> None:
    """Link a Telegram chat to the contact of a share by hand."""
    address = _telegram(chat)
    number = runtime.with_engine(lambda engine: engine.contacts.link(token, address))
    if as_json:
        emit({"ok": True, "number": number, "chat": address})
    else:
        say(f"Linked. The chat now gets messages about {number}.")


@app.command("optout")
def optout_command(
    channel: Channel, contact: Address, proof: Proof = "told to staff", as_json: JsonFlag = False
) -> None:
    """Send a contact nothing more over a channel."""
    settings = runtime.settings()
    address = on_channel(channel, contact, settings.region)
    by = f"{proof} ({runtime.operator()})"
    canceled = runtime.with_engine(
        lambda engine: engine.contacts.opt_out(channel, address, proof=by), settings
    )
    if as_json:
        emit({"ok": True, "channel": channel, "canceled": canceled})
    else:
        say(f"Nothing more goes there over {channel}; {canceled} waiting message(s) canceled.")


@app.command("optin")
def optin_command(
    channel: Channel, contact: Address, proof: Proof = "told to staff", as_json: JsonFlag = False
) -> None:
    """Send to a contact over a channel again, because they asked for it."""
    settings = runtime.settings()
    address = on_channel(channel, contact, settings.region)
    by = f"{proof} ({runtime.operator()})"
    runtime.with_engine(lambda engine: engine.contacts.opt_in(channel, address, proof=by), settings)
    if as_json:
        emit({"ok": True, "channel": channel})
    else:
        say(f"{channel} may be used again for this contact.")


@app.command("edit")
def edit_command(
    share: Annotated[str, typer.Argument(metavar="SHARE_ID", help="Id of the share.")],
    phone: Annotated[str | None, typer.Option(help="The right phone.")] = None,
    email: Annotated[str | None, typer.Option(help="The right mail address.")] = None,
    telegram: Annotated[str | None, typer.Option(help="The right Telegram chat id.")] = None,
    as_json: JsonFlag = False,
) -> None:
    """Give the contact of a share another address.

    What waits goes there. What went out before is not sent again by this; for what failed see `tuma dead replay`.
    """
    from bot.domain.edit import contact_edit

    settings = runtime.settings()
    given = {"phone": phone, "email": email, "telegram": telegram}
    edit = contact_edit({name: text for name, text in given.items() if text is not None}, settings)
    edited = runtime.with_engine(
        lambda engine: engine.shares.edit_contact(
            share, phone=edit.phone, email=edit.email, telegram=edit.telegram, by=runtime.operator()
        ),
        settings,
    )
    if as_json:
        emit(edited)
    else:
        _print_edited(edited)


def _print_edited(edited: ShareContact) -> None:
    silent = [f"{one.channel} ({one.reason})" for one in edited.suppressed]
    facts(
        {
            "Share": edited.share,
            "Number": edited.number,
            "Phone": edited.phone,
            "Email": edited.email,
            "Telegram": edited.telegram,
            "Channels": edited.channels,
            "Silent": silent,
        }
    )
    if edited.dead:
        note(f"{len(edited.dead)} dead letter(s): tuma dead replay --all --share {edited.share}")


def forget_command(contact: Address, as_json: JsonFlag = False) -> None:
    """Erase a contact's personal data everywhere.

    Bills and payments stay, without name and address, and so does an opt-out. What waits for the contact is canceled,
    and the page that their messages link to is gone.
    """
    settings = runtime.settings()
    address = normalised(contact, settings.region)
    changed = runtime.with_engine(
        lambda engine: engine.contacts.forget(address, by=runtime.operator()), settings
    )
    if as_json:
        emit({"ok": True, "shares": changed})
    else:
        say(f"Forgotten; {changed} share(s) no longer name this contact.")


def _linked(found: ContactView) -> ContactView:
    """With `telegram` only for a chat that gets bills: one that only opted out was never linked."""
    linked = found.telegram and (found.kind != "telegram" or bool(found.numbers))
    return msgspec.structs.replace(found, telegram=linked)


def normalised(text: str, region: str) -> str:
    """An address as it is kept: E.164, a mail address, or a chat id. Raises Misused.

    Digits alone that may be a phone as well as a chat id are refused: the wrong person would be forgotten.
    """
    from bot.domain import contact

    bare = text.strip()
    if "@" in bare:
        return on_channel(ChannelName.EMAIL, bare, region)
    if bare.startswith(_CHAT):
        return _telegram(bare)
    digits = bare.isascii() and bare.isdigit() and not bare.startswith("0")
    try:
        phone = contact.phone(bare, region)
    except contact.BadPhone as error:
        if digits:
            return _telegram(bare)
        raise Misused(error.problem("contact", bare)) from error
    if digits:
        raise Misused(_ambiguous(phone, bare))
    return phone


def _ambiguous(phone: str, digits: str) -> Problem:
    from bot.domain.contact import mask

    return Problem(
        field="contact",
        message=f"may be the phone {mask(phone)} or the Telegram chat {mask(digits)}",
        expected="the phone with + and its country code or with 0 in front, or the chat as telegram:<digits>",
    )


def on_channel(channel: ChannelName, text: str, region: str) -> str:
    """An address of `channel` as it is kept. Raises Misused."""
    from bot.domain import contact

    try:
        if channel is ChannelName.EMAIL:
            return contact.email(text)
        if channel is ChannelName.TELEGRAM:
            return contact.telegram(text.strip().removeprefix(_CHAT))
        return contact.phone(text, region)
    except contact.BadContact as error:
        raise Misused(error.problem("contact", text)) from error


def _telegram(text: str) -> str:
    return on_channel(ChannelName.TELEGRAM, text, "")
