"""What the repository holds beside code: that it is whole, says what the code says, and knows no machine."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import re
import shlex
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import typer.main

from bot.cli import app
from bot.settings import Settings

REPO = Path(__file__).parents[2]
NOT_OURS = {".git", ".venv", ".hypothesis", ".tuma", "dist", "build"}
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").glob("*.md")])
SHELL = re.compile(r"^```(?:sh|shell|bash|console)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[[^\]]+\]\(([^)\s]+)\)")
MACHINE_PATH = re.compile(r"(?<![\w.-])/(?:work|root|home|Users)/\w")
REGISTRY = re.compile(r"pypi\.(?:org|python)|pythonhosted\.org|registry\.npmjs|proxy\.golang", re.I)
UNFINISHED = re.compile(r"\b(?:TODO|FIXME|XXX|NotImplementedError)\b")


@cache
def texts() -> dict[str, str]:
    """Every text file of the repository by its path."""
    found = {}
    for path in REPO.rglob("*"):
        inside = path.relative_to(REPO).parts
        ours = not NOT_OURS & set(inside) and not any(
            part.endswith(("_cache", ".egg-info")) for part in inside
        )
        if ours and path.is_file() and path.suffix not in {".pyc", ".png", ".woff2", ".xlsx", ".ico"}:
            found["/".join(inside)] = path.read_text(errors="replace")
    return found


def holding(pattern: re.Pattern[str], *prefixes: str) -> list[str]:
    return sorted(
        f"{name}: {match[0]}"
        for name, text in texts().items()
        if name.startswith(prefixes) and name != ".env" and (match := pattern.search(text))
    )


def settings_pages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("settings_pages", REPO / "docs" / "settings.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def commands() -> Iterator[list[str]]:
    """Every command in the shell examples of all pages, as words."""
    for page in PAGES:
        for block in SHELL.findall(page.read_text()):
            # NAME=$(command) runs a command too.
            lines = re.sub(r"^\w+=\$\((.*)\)$", r"\1", block.replace("\\\n", " "), flags=re.MULTILINE)
            yield from split(list(tokens(lines)))


def tokens(text: str) -> Iterator[str]:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";&|<>\n")
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = " \t", True, ""
    return iter(lexer)


def split(words: list[str]) -> Iterator[list[str]]:
    command: list[str] = []
    for word in [*words, "\n"]:
        if set(word) <= set(";&|<>\n"):
            yield command
            command = []
        else:
            command.append(word)


def of_program(*names: str) -> list[list[str]]:
    return [words for words in commands() if words and words[0].rsplit("/", 1)[-1] in names]


def unknown(words: list[str]) -> str | None:
    """What in a `tuma` command line tuma does not know; None if it knows all of it."""
    command = typer.main.get_command(app)
    for word in words:
        if word.startswith("--"):
            if word.split("=")[0] not in {option for each in command.params for option in each.opts}:
                return word
        elif hasattr(command, "commands"):
            if word in command.commands:
                command = command.commands[word]
            elif not getattr(
                command, "invoke_without_command", False
            ):  # else it may be the value of an option
                return word
    return None


def test_the_licence_is_the_unchanged_apache_2() -> None:
    digest = hashlib.sha256((REPO / "LICENSE").read_bytes()).hexdigest()
    assert digest == "cfc7749b96f63bd31c3c42b5c471bf756814053e847c10f3eb003417bc523d30"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_pin_every_package_by_version_and_hash(name: str) -> None:
    packages = re.split(r"\n(?=\S)", (REPO / name).read_text().strip())
    assert packages
    assert [package for package in packages if "==" not in package or "--hash=sha256:" not in package] == []


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_locks_name_no_host_and_no_file(name: str) -> None:
    assert (
        re.findall(r"https?:|file:|^-\S+|--(?:extra-)?index", (REPO / name).read_text(), re.MULTILINE) == []
    )


def test_no_file_names_a_package_registry() -> None:
    assert holding(REGISTRY, "") == []


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    assert holding(MACHINE_PATH, "") == []


def test_nothing_is_left_unfinished() -> None:
    assert holding(UNFINISHED, "bot/", "channels/", "templates/", "docs/") == []


def test_the_settings_page_and_the_example_say_what_the_code_says() -> None:
    pages = settings_pages()
    assert (REPO / "docs" / "settings.md").read_text() == pages.page(), "run: python docs/settings.py"
    assert (REPO / ".env.example").read_text() == pages.example(), "run: python docs/settings.py"


def test_every_setting_is_on_the_settings_page_under_a_heading() -> None:
    listed = [field.name for _, fields in settings_pages().sections() for field in fields]
    assert listed == [field.name for field in dataclasses.fields(Settings)]


def test_the_example_file_can_be_used_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    from bot.settings import load

    assert load(env={}, dotenv=REPO / ".env.example") == load(env={}, dotenv=None)


def test_the_changelog_tells_of_the_version_in_pyproject() -> None:
    version = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["version"]
    changelog = (REPO / "CHANGELOG.md").read_text()
    assert "keepachangelog.com" in changelog
    assert f"## [{version}]" in changelog


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = [link.split("#")[0] for link in LINK.findall(page.read_text()) if "://" not in link]
    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_the_pages_show_commands() -> None:
    assert len(of_program("tuma")) > 10
    assert of_program("make")


def test_every_tuma_command_on_the_pages_exists() -> None:
    wrong = {" ".join(words): unknown(words[1:]) for words in of_program("tuma")}
    assert {command: word for command, word in wrong.items() if word} == {}


def test_every_make_target_on_the_pages_exists() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (REPO / "Makefile").read_text(), re.MULTILINE))
    assert {words[1] for words in of_program("make")} <= targets


def test_a_command_that_does_not_exist_is_found() -> None:
    assert unknown(["share", "--nonsense", "1"]) == "--nonsense"
    assert unknown(["sell"]) == "sell"
    assert unknown(["share", "bills.csv", "--dry-run"]) is None
    assert unknown(["sandbox", "replay", "bills.csv", "--nonsense"]) == "--nonsense"
