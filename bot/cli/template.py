"""`tuma template`: what customers will read, before they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from bot.cli import runtime
from bot.cli.output import FAILED, JsonFlag, emit, emit_all, note, say, table
from bot.domain.message import Kind
from channels.name import ChannelName

if TYPE_CHECKING:
    from bot.cli.preview import PreviewMessage
    from bot.render.templates import Renderer

app = typer.Typer(help="What customers will read.", no_args_is_help=True)

_KIND_HELP = f"What the message is for: {', '.join(Kind)}."


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List every message that can be sent, and which are your own."""
    found = _renderer().list()
    if as_json:
        emit_all(_listed(entry) for entry in found)
        return
    rows = ((e.set, e.locale, e.kind, e.channel, "your own" if e.overridden else "shipped") for e in found)
    table(("Set", "Locale", "Kind", "Channel", "Whose"), rows)


@app.command("preview")
def preview_command(
    kind: Annotated[Kind, typer.Argument(metavar="KIND", help=_KIND_HELP)] = Kind.INSTRUCTIONS,
    channel: Annotated[ChannelName | None, typer.Option(help="Only this channel. Default: all.")] = None,
    locale: Annotated[str | None, typer.Option(help="Only this language. Default: sw and en.")] = None,
    template: Annotated[str, typer.Option("--set", help="Template set.")] = "default",
    as_json: JsonFlag = False,
) -> None:
    """Render a message for an invented customer."""
    _check_locale(locale)
    made = _renderer()
    channels = [channel] if channel else list(ChannelName)
    locales = [locale] if locale else made.library.locales(template) or ["sw", "en"]
    for language in locales:
        for name in channels:
            _print(_preview(made, kind, name, language, template), kind, language, as_json)


def _check_locale(locale: str | None) -> None:
    from bot.domain.field import LOCALES

    if locale is not None and locale not in LOCALES:
        message = f"there is no language {locale!r}; there are {', '.join(LOCALES)}"
        raise typer.BadParameter(message, param_hint="--locale")


@app.command("check")
def check_command(as_json: JsonFlag = False) -> None:
    """Find what is wrong with the templates before a customer does.

    Unknown variables, an SMS that costs too much, and texts that mislead or look like fraud.
    """
    from bot.render.check import Finding

    settings = runtime.settings()
    made = _renderer()
    findings = made.check()
    if settings.public_url is None:
        missing = "has a link button, but PUBLIC_URL is not set, so nothing of it can be sent"
        findings += [Finding(each.name, None, missing, "error") for each in made.approved if each.button]
    if settings.mapping_problem:
        findings.append(Finding("WHATSAPP_TEMPLATES", None, settings.mapping_problem, "error"))
    found = [_finding(finding) for finding in findings]
    if as_json:
        emit({"ok": not found, "findings": found})
    elif not found:
        say("All templates are in order.")
    for finding in found if not as_json else ():
        note(" ".join(str(value) for value in finding.values() if value))
    if found:
        raise typer.Exit(FAILED)


def _renderer() -> Renderer:
    from bot.app import renderer

    return renderer(runtime.settings())


def _listed(entry: Any) -> dict[str, Any]:
    return {
        "set": entry.set,
        "locale": entry.locale,
        "kind": entry.kind,
        "channel": entry.channel,
        "files": [str(path) for path in entry.files],
        "overridden": entry.overridden,
    }


def _finding(finding: Any) -> dict[str, Any]:
    import msgspec

    found: dict[str, Any] = msgspec.to_builtins(finding)
    return found


def _preview(made: Renderer, kind: Kind, channel: ChannelName, locale: str, template: str) -> PreviewMessage:
    from msgspec.structs import replace

    from bot.cli.preview import shown
    from bot.render.samples import sample_facts

    facts = replace(sample_facts(kind, channel, locale), template=template)
    return shown(channel, made.render(facts))


def _print(message: PreviewMessage, kind: Kind, locale: str, as_json: bool) -> None:
    if as_json:
        import msgspec

        emit({"kind": kind, "locale": locale, **msgspec.to_builtins(message)})
        return
    from bot.cli.rehearsal import print_message

    say(f"{kind}, {locale}")
    print_message(message)
