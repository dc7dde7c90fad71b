"""`tuma key`: who may call the HTTP API."""

from __future__ import annotations

from typing import Annotated

import typer

from bot.cli import runtime
from bot.cli.output import JsonFlag, emit, emit_all, note, say, table

app = typer.Typer(help="Keys for the HTTP API.", no_args_is_help=True)


@app.command("create")
def create_command(
    name: Annotated[str, typer.Argument(help="What the key is for, such as the program's name.")],
    scope: Annotated[
        list[str], typer.Option(help="share: hand in bills. read: look. staff: what staff do. Repeatable.")
    ] = ["share", "read"],  # noqa: B006 - the command line shows it as the default
    as_json: JsonFlag = False,
) -> None:
    """Make a key. It is shown this once; only its hash is kept."""
    _check_scopes(scope)
    key_id, key = runtime.with_engine(lambda engine: engine.api_keys.create(name, scope))
    if as_json:
        emit({"id": key_id, "name": name, "scopes": scope, "key": key})
        return
    say(key)
    note(f"This is key {key_id}. Keep it now: it cannot be shown again.")


def _check_scopes(scopes: list[str]) -> None:
    from bot.engine.api_keys import SCOPES

    if unknown := [scope for scope in scopes if scope not in SCOPES]:
        expected = f"there is no scope {unknown[0]!r}; there are {', '.join(SCOPES)}"
        raise typer.BadParameter(expected, param_hint="--scope")


@app.command("list")
def list_command(as_json: JsonFlag = False) -> None:
    """List the keys, without their secrets."""
    found = runtime.with_engine(lambda engine: engine.api_keys.list())
    if as_json:
        emit_all(found)
    else:
        table(("Key", "Name", "Scopes", "Created"), ((k.id, k.name, k.scopes, k.created_at) for k in found))


@app.command("revoke")
def revoke_command(
    key: Annotated[str, typer.Argument(metavar="ID", help="The key's id, as `key list` shows it.")],
    as_json: JsonFlag = False,
) -> None:
    """Make a key useless from now on."""
    runtime.with_engine(lambda engine: engine.api_keys.revoke(key))
    if as_json:
        emit({"ok": True, "id": key})
    else:
        say(f"Key {key} is revoked.")
