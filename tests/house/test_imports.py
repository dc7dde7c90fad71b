"""Who may import whom, and who may do what: data walks one way, and each outside thing has one door."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

REPO = Path(__file__).parents[2]

# For each package or module the modules of ours that it may import, by prefix. What is not listed may import all.
MAY_IMPORT: Mapping[str, tuple[str, ...]] = {
    "channels": ("channels",),
    "bot.errors": (),
    "bot.settings": ("bot.errors", "bot.domain.contact"),
    "bot.lean": (),
    "bot.log": ("bot.domain.contact", "bot.lean", "bot.settings"),
    "bot.domain": ("bot.domain", "bot.errors", "channels.base"),
    "bot.render": ("bot.render", "bot.domain", "bot.errors", "channels.base"),
    "bot.billpay": ("bot.billpay", "bot.domain", "bot.errors", "channels.base"),
    "bot.engine": (
        *("bot.engine", "bot.render", "bot.domain", "bot.errors", "bot.settings"),
        *("channels.base", "channels.errors", "channels.sms_health"),
    ),
    "bot.web": (
        *("bot.web", "bot.engine", "bot.render", "bot.billpay", "bot.domain", "bot.errors", "bot.settings"),
        *("channels.base", "channels.errors", "channels.twilio_status", "channels.africastalking_status"),
    ),
    "bot.staff": (
        "bot.staff",
        "bot.engine",
        "bot.render",
        "bot.domain",
        "bot.errors",
        "bot.settings",
        "channels.base",
        "channels.aiogram_lazily",
    ),
    # The sandbox must not share tuma's own reading of a wire format, or both sides could be wrong alike.
    "bot.sandbox": ("bot.sandbox", "bot.render.segments", "bot.render.library"),
}

# Libraries with one door each.
DOORS: Mapping[str, tuple[str, ...]] = {
    # memory: the bot framework brings its own storage; durability: reads the server's own configuration.
    "redis": ("bot.engine", "bot.staff.memory", "bot.cli.durability"),
    "twilio": ("channels",),
    "aiosmtplib": ("channels",),
    "aiogram": ("channels.telegram", "channels.aiogram_lazily", "bot.staff"),
    "httpx": ("bot.billpay", "bot.cli"),
    "minijinja": ("bot.render", "bot.web"),
    "phonenumbers": ("bot.domain.contact",),
    "aiosmtpd": ("bot.sandbox",),
    "dotenv": ("bot.settings",),
    "typer": ("bot.cli",),
    "rich": ("bot.cli",),
}

# Who builds the engine and the channels: the composition root, commands that need one part alone, demo and replay.
BUILDERS = ("bot.app", "bot.cli", "bot.demo", "bot.replay")
ENVIRONMENT = {"bot.settings"}
SCRIPTS = {"bot.engine.scripts"}
STREAMS = {
    "bot.engine.scripts",
    "bot.engine.inbox",
    "bot.engine.control",  # news to staff
    "bot.engine.events",  # news to staff
    "bot.engine.records",  # the audit stream
    "bot.demo",  # hands one bill in as any producer would
}
STREAM_COMMANDS = {
    "xadd",
    "xread",
    "xreadgroup",
    "xack",
    "xdel",
    "xtrim",
    "xclaim",
    "xautoclaim",
    "xgroup_create",
}
SCRIPT_COMMANDS = {"eval", "eval_ro", "evalsha", "evalsha_ro", "register_script", "script_load", "fcall"}
VAGUE = {"utils", "util", "helpers", "helper", "manager", "common", "misc"}
SLOW = {"aiogram", "twilio", "babel", "reportlab", "phonenumbers", "aiohttp", "httpx", "redis", "minijinja"}


def source_files() -> list[Path]:
    return sorted(path for top in ("bot", "channels") for path in (REPO / top).rglob("*.py"))


def module_name(path: Path) -> str:
    return ".".join(path.relative_to(REPO).with_suffix("").parts).removesuffix(".__init__")


MODULES = {module_name(path): path for path in source_files()}
PACKAGES = {module_name(path) for path in source_files() if path.name == "__init__.py"}


@functools.cache
def trees() -> Mapping[str, ast.Module]:
    """Every module's syntax; read by the one process that runs this file."""
    return {module: ast.parse(path.read_text(), str(path)) for module, path in MODULES.items()}


def within(module: str, prefixes: tuple[str, ...]) -> bool:
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


@functools.cache
def imported(module: str) -> frozenset[str]:
    """What one of our modules imports."""
    return frozenset(imports(module, trees()[module]))


def imports(module: str, tree: ast.AST) -> Iterator[str]:
    """Full names of everything imported, at the top or inside a function; a name from a package counts as a module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            source = base_of(module, node)
            yield from (f"{source}.{alias.name}" if source in PACKAGES else source for alias in node.names)


def base_of(module: str, node: ast.ImportFrom) -> str:
    if not node.level:
        return node.module or ""
    parts = module.split(".") if module in PACKAGES else module.split(".")[:-1]
    return ".".join([*parts[: len(parts) - node.level + 1], *([node.module] if node.module else [])])


def misdirected(module: str, names: Iterable[str]) -> list[str]:
    """Imports of ours that `module` may not make."""
    ours = [name for name in names if within(name, ("bot", "channels"))]
    wrong = [name for name in ours if within(name, ("bot.app", "bot.cli")) and not within(module, BUILDERS)]
    for owner, allowed in MAY_IMPORT.items():
        if within(module, (owner,)):
            wrong += [name for name in ours if not within(name, allowed)]
    return [] if module == "bot.__main__" else sorted(set(wrong))


def calls(tree: ast.AST) -> Iterator[str]:
    """Names of all methods called."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield node.func.attr


def reads_environment(tree: ast.AST) -> bool:
    readers = {"environ", "getenv", "environb"}
    attributes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr in readers)
    return any(ast.unparse(node.value) == "os" for node in attributes)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_the_way_data_walks(module: str) -> None:
    assert misdirected(module, imported(module)) == []


@pytest.mark.parametrize("library", DOORS)
def test_a_library_is_imported_only_where_it_belongs(library: str) -> None:
    users = {module for module in MODULES if any(within(name, (library,)) for name in imported(module))}
    assert sorted(module for module in users if not within(module, DOORS[library])) == []


def test_only_the_settings_read_the_environment() -> None:
    assert {module for module, tree in trees().items() if reads_environment(tree)} <= ENVIRONMENT


def test_scripts_are_called_in_one_place() -> None:
    assert {module for module, tree in trees().items() if SCRIPT_COMMANDS & set(calls(tree))} <= SCRIPTS


def test_stream_commands_are_issued_in_few_places() -> None:
    assert {module for module, tree in trees().items() if STREAM_COMMANDS & set(calls(tree))} <= STREAMS


def test_only_the_composition_root_builds_channels() -> None:
    makers = tuple(f"channels.{name}" for name in ("registry", "sms", "whatsapp", "email", "telegram"))
    users = {module for module in MODULES if any(within(name, makers) for name in imported(module))}
    assert {module for module in users if not within(module, (*BUILDERS, "channels"))} == set()


def test_only_the_composition_root_opens_the_engine() -> None:
    openers = {module for module, tree in trees().items() if opens_engine(tree)}
    assert {module for module in openers if not within(module, BUILDERS)} == set()


def opens_engine(tree: ast.AST) -> bool:
    calls = (node.func for node in ast.walk(tree) if isinstance(node, ast.Call))
    named = (function for function in calls if isinstance(function, ast.Name | ast.Attribute))
    return any(ast.unparse(function) in {"Engine", "Engine.open"} for function in named)


def test_every_module_says_what_it_is() -> None:
    assert [module for module, tree in trees().items() if not ast.get_docstring(tree)] == []


def test_no_module_has_a_name_that_could_hold_anything() -> None:
    assert [module for module in MODULES if module.rsplit(".", 1)[-1] in VAGUE] == []


def test_help_imports_nothing_slow() -> None:
    code = f"import sys, bot.cli; print(*sorted({SLOW!r} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert found.stdout.split() == []


@pytest.mark.parametrize(
    ("module", "code", "wrong"),
    [
        ("bot.domain.money", "from bot.engine import keys", ["bot.engine.keys"]),
        ("bot.domain.money", "def late():\n    import channels.registry", ["channels.registry"]),
        ("bot.domain.money", "from bot.domain import contact\nfrom channels.base import ChannelName", []),
        ("bot.engine.worker", "from ..web import server", ["bot.web.server"]),
        ("bot.engine.worker", "from .keys import prefix", []),
        ("channels.sms", "from bot import log", ["bot.log"]),
        ("bot.web.api", "from bot.app import open_app", ["bot.app"]),
        ("bot.cli.up", "from bot.app import open_app", []),
    ],
)
def test_a_wrong_import_is_found(module: str, code: str, wrong: list[str]) -> None:
    assert misdirected(module, imports(module, ast.parse(code))) == wrong


@pytest.mark.parametrize("code", ["import os\nos.environ['A']", "import os\nx = os.getenv('A')"])
def test_reading_the_environment_is_found(code: str) -> None:
    assert reads_environment(ast.parse(code))
