"""The page for the night: what the code can say to staff, in alerts, pauses, findings, logs and metrics, is on it."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bot.cli.doctor import State as Finding
from bot.domain.bill import BillStatus
from bot.domain.dead import Cause
from bot.domain.message import Outcome, State
from bot.staff.texts import TABLES
from bot.web.metrics import _PLAIN, Metrics
from channels import africastalking_codes, twilio_codes
from channels.errors import Misconfigured

REPO = Path(__file__).parents[2]
PAGE = (REPO / "docs" / "operations.md").read_text()
NEWS = re.compile(r"""news\('(\w+)'|\.tell\(\s*\w+,\s*"(\w+)["]""")
# The sandbox and the replay talk to whoever tries things out, in daylight.
ASIDE = {"sandbox", "replay"}


def sources(*folders: str) -> Iterator[Path]:
    for folder in folders:
        for path in sorted((REPO / folder).rglob("*.py")):
            if not ASIDE & set(path.parts):
                yield path


def calls(path: Path) -> Iterator[ast.Call]:
    return (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call))


def texts(node: ast.AST) -> Iterator[str]:
    """The literal parts of an expression that say something."""
    for part in ast.walk(node):
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            text = part.value.strip(" :;()%")
            if sum(map(str.isalpha, text)) >= 8:
                yield text


def news_kinds() -> set[str]:
    lua = "\n".join(path.read_text() for path in (REPO / "bot/engine/lua").glob("*.lua"))
    python = "\n".join(path.read_text() for path in sources("bot/engine"))
    return {word for match in NEWS.finditer(lua + python) for word in match.groups() if word}


def log_events() -> set[str]:
    found = set()
    for path in sources("bot", "channels"):
        for call in calls(path):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else ""
            logger = isinstance(call.func, ast.Attribute) and ast.unparse(call.func.value) in ("_log", "log")
            if (
                logger
                and name in ("warning", "error", "exception")
                and isinstance(call.args[0], ast.Constant)
            ):
                found.add(re.sub(r":? %s$", "", str(call.args[0].value)))
    return found


def pause_reasons() -> set[str]:
    """What a refusal of our account is called, by whoever raises it or lists it in a table."""
    found: set[str] = set()
    for path in sources("channels"):
        for node in ast.walk(ast.parse(path.read_text())):
            parts = (
                node.args if isinstance(node, ast.Call) else node.elts if isinstance(node, ast.Tuple) else []
            )
            called = isinstance(node, ast.Call) and ast.unparse(node.func) == "Misconfigured"
            if called or any(ast.unparse(part) == "Misconfigured" for part in parts):
                found.update(text for part in parts[-1:] for text in texts(part))
    return found


def findings() -> set[str]:
    """The details that doctor gives, and what it finds of Redis."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((REPO / "bot/cli/doctor.py").read_text())):
        if isinstance(node, ast.keyword) and node.arg == "detail":
            found.update(texts(node.value))
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "detail":
            found.update(texts(node.value))
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "Probe":
            found.update(texts(node.args[1]))
    tree = ast.parse((REPO / "bot/engine/durability.py").read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Dict) or (
            isinstance(node, ast.Call) and ast.unparse(node.func).endswith("append")
        ):
            found.update(texts(node))
    return found - {
        "messages,",
        "open bills,",
        "in the inbox",
    }  # between the figures of a ledger that adds up


def enumerated() -> set[str]:
    return {str(word) for kind in (State, Outcome, BillStatus, Cause) for word in kind}


def metric_names() -> set[str]:
    own = {family.name for family in Metrics()._registry.collect()}
    return own | {f"tuma_{name}" for name in _PLAIN} | {"tuma_done", "tuma_waiting"}


@pytest.mark.parametrize(
    ("what", "least"),
    [
        (news_kinds, 10),
        (log_events, 30),
        (pause_reasons, 20),
        (findings, 15),
        (enumerated, 20),
        (metric_names, 14),
    ],
)
def test_everything_that_can_be_said_at_night_is_on_the_page(
    what: Callable[[], set[str]], least: int
) -> None:
    found = what()
    assert len(found) >= least, "the code is read no more"
    assert sorted(text for text in found if text not in PAGE) == []


def test_every_code_that_pauses_a_channel_is_on_the_page() -> None:
    twilio = [str(code) for code, row in twilio_codes.CODES.items() if row.error is Misconfigured]
    local = [row.name for row in africastalking_codes.CODES.values() if row.error is Misconfigured]
    assert len(twilio) > 40
    assert [code for code in twilio + local if not re.search(rf"\b{code}\b", PAGE)] == []


def test_every_state_of_a_finding_is_on_the_page() -> None:
    assert [state for state in Finding if state.upper() not in PAGE] == []


@pytest.mark.parametrize("locale", sorted(TABLES))
def test_every_kind_of_news_has_words_for_staff(locale: str) -> None:
    assert sorted(kind for kind in news_kinds() if f"news.{kind}" not in TABLES[locale]) == []
