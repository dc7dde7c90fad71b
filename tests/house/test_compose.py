"""docker-compose.yml and Dockerfile, as far as they can be checked without a Docker engine."""

from __future__ import annotations

import re
import shlex
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.main import get_command

from bot.app import Role
from bot.cli import app

REPO = Path(__file__).parents[2]
ROLES = {role.value for role in Role}


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((REPO / "docker-compose.yml").read_text())
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def dockerfile() -> list[list[str]]:
    """Instructions and their words, continued lines joined, comments left out."""
    text = re.sub(r"\\\n", " ", (REPO / "Dockerfile").read_text())
    return [line.split() for line in text.splitlines() if line and not line.startswith("#")]


def last(instruction: str) -> list[str]:
    return [words for words in dockerfile() if words[0] == instruction][-1]


def test_every_role_has_a_service_of_its_own() -> None:
    commands = {name: service(name).get("command") for name in ROLES}
    assert commands == {name: ["up", "--roles", name] for name in ROLES}


def test_the_commands_are_ones_that_tuma_has() -> None:
    up = get_command(app).commands["up"]  # type: ignore[attr-defined]
    assert "--roles" in {option for parameter in up.params for option in parameter.opts}


def test_files_of_the_merchants_own_are_seen_by_every_role_and_documented() -> None:
    assert {tuple(service(name)["volumes"]) for name in ROLES} == {("./config:/config:ro",)}
    assert "/config/" in (REPO / ".env.example").read_text()
    assert "/config/" in (REPO / "docs" / "going-live.md").read_text()


@pytest.mark.parametrize("name", sorted({*ROLES, "valkey", "mail"}))
def test_every_service_has_few_rights_and_comes_back(name: str) -> None:
    one = service(name)
    assert one["restart"] == "unless-stopped"
    assert one["read_only"] is True
    assert one["cap_drop"] == ["ALL"]
    assert one["healthcheck"]["test"]


def test_images_are_pinned_to_a_version() -> None:
    images = [one["image"] for one in compose()["services"].values()]
    images += [words[1] for words in dockerfile() if words[0] == "FROM"]
    assert [image for image in images if not re.search(r":v?[0-9]+\.[0-9]+\.[0-9]+", image)] == []


def test_the_store_keeps_what_it_acknowledged_and_drops_nothing() -> None:
    words = service("valkey")["command"][1:]
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--dir"] == "/data"
    assert service("valkey")["volumes"] == ["valkey:/data"]


def test_the_store_is_reached_by_tuma_only() -> None:
    assert "ports" not in service("valkey")
    assert service("valkey")["networks"] == ["store"]
    assert compose()["networks"]["store"]["internal"] is True


@pytest.mark.parametrize("name", sorted(ROLES))
def test_roles_wait_until_the_store_has_loaded(name: str) -> None:
    assert service(name)["depends_on"] == {"valkey": {"condition": "service_healthy"}}
    assert service(name)["environment"]["REDIS_URL"] == "redis://valkey:6379/0"


def test_only_this_machine_reaches_published_ports() -> None:
    ports = [port for one in compose()["services"].values() for port in one.get("ports", [])]
    assert ports
    assert [port for port in ports if not port.startswith("127.0.0.1:")] == []


def test_the_mail_catcher_is_for_development_only() -> None:
    assert service("mail")["profiles"] == ["dev"]


@pytest.mark.parametrize("name", sorted(ROLES))
def test_python_in_health_checks_compiles(name: str) -> None:
    words = service(name)["healthcheck"]["test"]
    assert words[:3] == ["CMD", "python", "-c"]
    compile(words[3], name, "exec")


def test_the_image_runs_without_rights_and_installs_by_hash() -> None:
    assert last("USER") == ["USER", "10001:10001"]
    assert any("--require-hashes" in words for words in dockerfile())
    assert last("HEALTHCHECK")


def test_the_image_is_built_from_files_that_exist_and_are_sent() -> None:
    sources = {word.strip("./") for words in dockerfile() if words[0] == "COPY" for word in words[1:-1]}
    sources = {source for source in sources if not source.startswith(("--from", "opt"))}
    sent = {line[1:] for line in (REPO / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert sources == sent
    assert [source for source in sources if not (REPO / source).exists()] == []


def test_secrets_are_not_sent_to_the_builder() -> None:
    ignored = (REPO / ".dockerignore").read_text().splitlines()
    assert "*" in ignored
    assert "**/.env" in ignored


def test_the_image_starts_tuma() -> None:
    assert shlex.split(" ".join(last("ENTRYPOINT")[1:]).strip("[]")) == ["tuma"]
    assert shlex.split(" ".join(last("CMD")[1:]).strip("[]")) == ["up"]
