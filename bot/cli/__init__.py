"""The command line `tuma`: what it is called and what belongs together.

Every command stands in the module of its subject and imports what it needs when it runs.
"""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli import (
    bench,
    bills,
    channel,
    contact,
    dead,
    doctor,
    export,
    key,
    payments,
    reconcile,
    sandbox,
    serve,
    share,
    sms,
    template,
    webhook,
)
from bot.cli.output import Commands, say

app = typer.Typer(
    name="tuma",
    cls=Commands,
    no_args_is_help=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        say(f"tuma {version('tuma')}")
        raise typer.Exit


@app.callback()
def root(
    show_version: Annotated[
        bool,
        typer.Option("--version", help="Show the version and exit.", callback=_show_version, is_eager=True),
    ] = False,
) -> None:
    """Send a ClickPesa control number to the customer, remind, and stop the second it is paid."""


_RUN = "Run"
_BILLS = "Bills"
_OPERATE = "Operate"
_DEVELOPERS = "For developers"

app.command("demo", rich_help_panel=_RUN)(serve.demo_command)
app.command("up", rich_help_panel=_RUN)(serve.up_command)
app.command("doctor", rich_help_panel=_RUN)(doctor.doctor_command)
app.command("share", rich_help_panel=_BILLS)(share.share_command)
app.command("status", rich_help_panel=_BILLS)(bills.status_command)
app.command("stop", rich_help_panel=_BILLS)(bills.stop_command)
app.add_typer(bills.app, name="bill", rich_help_panel=_BILLS)
app.add_typer(payments.app, name="payments", rich_help_panel=_BILLS)
app.command("reconcile", rich_help_panel=_BILLS)(reconcile.reconcile_command)
app.add_typer(contact.app, name="contact", rich_help_panel=_BILLS)
app.add_typer(dead.app, name="dead", rich_help_panel=_OPERATE)
app.add_typer(channel.app, name="channel", rich_help_panel=_OPERATE)
app.add_typer(template.app, name="template", rich_help_panel=_OPERATE)
app.command("export", rich_help_panel=_OPERATE)(export.export_command)
app.command("forget", rich_help_panel=_BILLS)(contact.forget_command)
app.add_typer(key.app, name="key", rich_help_panel=_OPERATE)
app.add_typer(sandbox.app, name="sandbox", rich_help_panel=_DEVELOPERS)
app.add_typer(sms.app, name="sms", rich_help_panel=_DEVELOPERS)
app.add_typer(webhook.app, name="webhook", rich_help_panel=_DEVELOPERS)
app.command("bench", rich_help_panel=_DEVELOPERS)(bench.bench_command)


def keep_only(name: str) -> None:
    """Leave nothing but `name` on the command line, if it is a command: making all of them takes 0.15 s."""
    commands = [each for each in app.registered_commands if each.name == name]
    groups = [each for each in app.registered_groups if each.name == name]
    if commands or groups:
        app.registered_commands, app.registered_groups = commands, groups
