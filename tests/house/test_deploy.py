"""deploy/: what can be known of manifests, dashboard and alerts without a cluster, held to the code they speak of.

The schemas of the Kubernetes objects themselves are checked by a validator, see docs/capacity.md.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import yaml
from msgspec import convert

from bot.app import Role
from bot.engine.ledger import Stats
from bot.engine.limits import Limit
from bot.settings import Settings
from bot.web.metrics import Metrics
from channels.base import ChannelName

REPO = Path(__file__).parents[2]
KUBERNETES = REPO / "deploy" / "kubernetes"
GRAFANA = REPO / "deploy" / "grafana"
FOR_STAFF = {"/healthz", "/readyz", "/metrics", "/openapi.json", "/docs", "/robots.txt"}


@cache
def objects(kind: str) -> dict[str, Any]:
    """The manifests of that kind, by name."""
    found = {}
    for path in sorted(KUBERNETES.glob("*.yaml")):
        for one in yaml.safe_load_all(path.read_text()):
            if one["kind"] == kind:
                assert one["metadata"]["name"] not in found
                found[one["metadata"]["name"]] = one
    return found


def container(deployment: Any) -> Any:
    (one,) = deployment["spec"]["template"]["spec"]["containers"]
    return one


def expressions() -> Iterator[str]:
    """Every query of the dashboard, the alerts and the scaler."""
    for panel in json.loads((GRAFANA / "dashboard.json").read_text())["panels"]:
        yield from (target["expr"] for target in panel["targets"])
    for group in yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for scaled in objects("ScaledObject").values():
        yield from (trigger["metadata"]["query"] for trigger in scaled["spec"]["triggers"])


def exposed() -> dict[str, set[str]]:
    """The names that a scrape shows, with their labels, from a process that has served something."""
    metrics = Metrics()
    metrics.requests.labels("GET", "/", "200").inc()
    metrics.seconds.labels("/").observe(0.1)
    metrics.webhooks.labels("clickpesa", "settled").inc()
    metrics.rows.labels("accepted").inc()
    lines = {"done": {"sent": 1}, "doubts": {"resent": 1}, "waiting": {"sms.urgent": 1}}
    stats = convert({name: lines.get(name, 1) for name in Stats.__struct_fields__}, Stats)
    text = metrics.exposition(stats, {"sms": Limit(rate=1, tokens=1, used=1, waits=1)}).decode()
    found: dict[str, set[str]] = {}
    for name, labels in re.findall(r"^(tuma_\w+)(?:\{(.*)\})? ", text, re.MULTILINE):
        found.setdefault(name, set()).update(re.findall(r"(\w+)=", labels))
    return found


def test_every_query_asks_for_metrics_and_labels_that_there_are() -> None:
    known, asked = exposed(), list(expressions())
    assert len(asked) > 30
    for query in asked:
        for name, matchers in re.findall(r"(tuma_\w+)(?:\{([^}]*)\})?", query):
            assert name in known, query
            assert set(re.findall(r"(\w+)=", matchers)) <= known[name], query


@pytest.mark.parametrize("label", ["channel", "lane", "outcome", "how", "status", "sender", "route"])
def test_the_labels_that_queries_group_by_belong_to_what_they_read(label: str) -> None:
    known = exposed()
    grouped = [query for query in expressions() if re.search(rf"by \([^)]*\b{label}\b", query)]
    assert grouped
    for query in grouped:
        assert any(label in known[name] for name in re.findall(r"tuma_\w+", query)), query


def test_every_alert_leads_to_a_section_that_helps() -> None:
    for group in yaml.safe_load((GRAFANA / "alerts.yaml").read_text())["groups"]:
        for rule in group["rules"]:
            page, _, anchor = rule["annotations"]["runbook"].partition("#")
            titles = re.findall(r"^#+ (.+)$", (REPO / page).read_text(), re.MULTILINE)
            anchors = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
            assert anchor in anchors, rule["alert"]
            assert rule["labels"]["severity"] in ("page", "office")


def test_panels_do_not_lie_over_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads((GRAFANA / "dashboard.json").read_text())["panels"]:
        at = panel["gridPos"]
        assert at["x"] + at["w"] <= 24
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells


def test_every_role_and_channel_is_deployed_by_the_command_that_tuma_has() -> None:
    commands = {tuple(container(each)["args"]) for each in objects("Deployment").values()}
    workers = {("up", "--roles", "worker", "--channels", str(name)) for name in ChannelName}
    others = {("up", "--roles", str(role)) for role in Role if role != Role.WORKER}
    assert commands == workers | others


def test_each_worker_scales_on_its_own_channels_backlog() -> None:
    scaled = objects("ScaledObject")
    assert set(scaled) == {f"worker-{name}" for name in ChannelName}
    for name, one in scaled.items():
        assert one["spec"]["scaleTargetRef"]["name"] == name
        assert one["spec"]["minReplicaCount"] >= 1
        (trigger,) = one["spec"]["triggers"]
        assert f'channel="{name.removeprefix("worker-")}"' in trigger["metadata"]["query"]
        assert "replicas" not in objects("Deployment")[name]["spec"], "two would set them"


@pytest.mark.parametrize("name", sorted(objects("Deployment")))
def test_a_pod_has_few_rights_and_ends_in_time(name: str) -> None:
    deployment = objects("Deployment")[name]
    pod, one = deployment["spec"]["template"]["spec"], container(deployment)
    assert one["image"] == f"tuma:{version('tuma')}"
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert f"--uid {pod['securityContext']['runAsUser']} " in (REPO / "Dockerfile").read_text()
    assert pod["automountServiceAccountToken"] is False
    assert pod["terminationGracePeriodSeconds"] >= 45
    assert one["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert one["envFrom"] == [{"configMapRef": {"name": "tuma"}}, {"secretRef": {"name": "tuma"}}]


def test_settings_in_manifests_are_ones_that_tuma_has() -> None:
    known = {each.metadata["env"] for each in fields(Settings)}
    assert set(objects("ConfigMap")["tuma"]["data"]) <= known


def test_kustomization_lists_every_file() -> None:
    listed = set(objects_of_kustomization())
    assert listed == {path.name for path in KUBERNETES.glob("*.yaml")} - {"kustomization.yaml"}


def objects_of_kustomization() -> list[str]:
    found: list[str] = yaml.safe_load((KUBERNETES / "kustomization.yaml").read_text())["resources"]
    return found


def test_the_ingress_lets_in_what_the_world_needs_and_nothing_for_staff() -> None:
    (rule,) = objects("Ingress")["api"]["spec"]["rules"]
    let_in = tuple(each["path"] for each in rule["http"]["paths"])
    code = "".join(path.read_text() for path in (REPO / "bot" / "web").glob("*.py"))
    routes = set(re.findall(r'(?<!endswith\()"(/[a-z][a-z0-9_./{}]*)"', code))
    assert len(routes) > 25
    for path in routes:
        assert path.startswith(let_in) is (path not in FOR_STAFF), path


def test_probes_ask_what_tuma_answers() -> None:
    one = container(objects("Deployment")["api"])
    assert one["livenessProbe"]["httpGet"] == {"path": "/healthz", "port": "http"}
    assert one["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert one["ports"] == [{"name": "http", "containerPort": 8000}]
