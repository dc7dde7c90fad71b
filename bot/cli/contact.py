"""`tuma contact`: what is known of a person's address, what they agreed to, and how to correct it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, facts, note, say, table
from bot.errors import Refused
from channels.base import ChannelName

if TYPE_CHECKING:
    from bot.domain.bill import ShareContact

app = typer.Typer(help="Addresses, consent and chats of one contact.", no_args_is_help=True)

Address = Annotated[str, typer.Argument(metavar="CONTACT", help="Phone, mail address, or Telegram chat id.")]
Channel = Annotated[ChannelName, typer.Argument(help="Which channel.")]
Proof = Annotated[str, typer.Option(help="How the person said so; kept as proof.")]


@app.command("show")
def show_command(contact: Address, as_json: JsonFlag = False) -> None:
    """Show a contact's opt-outs and the bills that they get."""
    settings = runtime.settings()
    address = normalised(contact, settings.region)
    found = runtime.with_engine(lambda engine: engine.contacts.show(address), settings)
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

    Bills and payments stay, without name and address, and so does an opt-out. What waits for the contact is canceled.
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


def normalised(text: str, region: str) -> str:
    """An address as it is kept: E.164, a mail address, or a chat id. Raises Refused.

    Digits are read as a phone if they make one, else as a chat id.
    """
    from bot.domain import contact

    if "@" in text:
        return on_channel(ChannelName.EMAIL, text, region)
    try:
        return contact.phone(text, region)
    except contact.BadPhone as error:
        if text.strip().isdigit() and not text.strip().startswith("0"):
            return _telegram(text)
        raise Refused(error.problem("contact", text)) from error


def on_channel(channel: ChannelName, text: str, region: str) -> str:
    """An address of `channel` as it is kept. Raises Refused."""
    from bot.domain import contact

    try:
        if channel is ChannelName.EMAIL:
            return contact.email(text)
        return contact.telegram(text) if channel is ChannelName.TELEGRAM else contact.phone(text, region)
    except contact.BadContact as error:
        raise Refused(error.problem("contact", text)) from error


def _telegram(text: str) -> str:
    return on_channel(ChannelName.TELEGRAM, text, "")
