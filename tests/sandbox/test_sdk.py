"""Somebody else's ClickPesa client does its whole BillPay cycle against the sandbox: `clickpesa-python-sdk`.

It is installed, with hashes, into an environment of its own. Where no package index can be reached the test is skipped
and says so; with TUMA_REQUIRE_SDK=1 it fails instead.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest

from bot.sandbox.city import Sandbox
from bot.sandbox.clickpesa_shapes import Shapes

HERE = Path(__file__).parent / "sdk"
REQUIREMENTS = HERE / "requirements.txt"
PINS = hashlib.sha256(REQUIREMENTS.read_bytes()).hexdigest()[:12]


@pytest.fixture(scope="module")
def python(request: pytest.FixtureRequest) -> Path:
    """The interpreter of an environment that has the package and nothing of ours."""
    cache = request.config.cache
    assert cache is not None
    folder = Path(cache.mkdir(f"clickpesa-sdk-{PINS}"))
    found = folder / "bin" / "python"
    if not (folder / "complete").exists():
        subprocess.run(
            [sys.executable, "-m", "venv", "--clear", str(folder)], check=True, capture_output=True
        )
        _install(found)
        (folder / "complete").touch()
    return found


def _install(python: Path) -> None:
    command = [
        str(python),
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--retries",
        "1",
    ]
    ran = subprocess.run(
        [*command, "--require-hashes", "-r", str(REQUIREMENTS)], capture_output=True, text=True, timeout=110
    )
    if ran.returncode == 0:
        return
    unreachable = "No matching distribution" in ran.stderr or "connection" in ran.stderr.lower()
    if unreachable and os.environ.get("TUMA_REQUIRE_SDK") != "1":
        pytest.skip("no package index can be reached to install clickpesa-python-sdk")
    pytest.fail(f"clickpesa-python-sdk cannot be installed: {ran.stderr[-500:]}")


async def cycle(python: Path, city: Sandbox) -> dict[str, Any]:
    """Run the merchant's program; what it saw."""
    base = urlsplit(city.urls["clickpesa"])
    who = msgspec.json.encode(city.clickpesa.account).decode()
    arguments = (str(HERE / "cycle.py"), f"{base.scheme}://{base.netloc}", city.urls["page"], who)
    env = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    process = await asyncio.create_subprocess_exec(
        python, "-I", *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=env
    )
    out, err = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, err.decode()[-2000:]
    seen: dict[str, Any] = json.loads(out)
    return seen


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    "shapes", [Shapes(), Shapes(create_echo=True, patch_whole=False)], ids=["new", "older"]
)
async def test_the_package_does_its_whole_billpay_cycle(python: Path, city: Sandbox, shapes: Shapes) -> None:
    city.clickpesa.shapes = shapes
    seen = await cycle(python, city)
    _created(seen["create"], shapes)
    _paid(seen["pay"])
    _changed(seen["change"], shapes)
    assert seen["async"]["details"]["billAmount"] == 700
    assert seen["wrong_key"] == "ForbiddenError: Invalid or Expired API-Key"
    assert seen["wrong_id"] == "ForbiddenError: Invalid client details"
    assert seen["unsigned"] == seen["wrong_sum"] == "ValidationError: Invalid checksum"
    assert {"U1", "U2", "X1"} & city.clickpesa.bills.keys() == set()


def _created(seen: dict[str, Any], shapes: Shapes) -> None:
    echo = (
        {"billDescription": "Ada", "billAmount": 12500, "billPaymentMode": "EXACT"}
        if shapes.create_echo
        else {}
    )
    assert seen["order"] == {"billPayNumber": "SOMA0001", **echo}
    assert len(seen["anything"]["billPayNumber"]) == 14
    assert seen["customer"]["billPayNumber"] == "KILEO7"
    assert seen["bulk"]["billPayNumbers"] == ["BULK0", "BULK1", "BULK2"]
    assert (seen["bulk"]["created"], seen["bulk"]["failed"]) == (3, 2)
    assert [error["index"] for error in seen["bulk"]["errors"]] == [3, 4]
    assert seen["bulk_customers"]["billPayNumbers"] == ["ASHA1"]
    assert seen["again"] == "ConflictError: Bill reference already used: Use a different reference"
    assert seen["no_cap"].startswith("ValidationError")


def _paid(seen: dict[str, Any]) -> None:
    assert seen["unpaid"] == "NotFoundError: Invalid or missing payment: SOMA0001"
    assert "only exactly 12500" in seen["too_little"]
    assert seen["exact"] == seen["first"] == seen["rest"] == "paid"
    assert "takes no payments any more" in seen["twice"]
    assert "takes no payments any more" in seen["beyond"]
    [payment] = seen["status"]
    assert (payment["collectedAmount"], payment["status"]) == (12500, "SUCCESS")
    assert [each["collectedAmount"] for each in seen["two"]] == [60000, 30000]
    assert [each["orderReference"] for each in seen["all"]["data"]] == ["SOMA0001", "KILEO7"]
    assert seen["all"]["totalCount"] == 3
    assert seen["some"]["totalCount"] == 2


def _changed(seen: dict[str, Any], shapes: Shapes) -> None:
    assert (seen["details"]["billRemainingAmount"], seen["details"]["billCustomerName"]) == (0, "Neema Kileo")
    assert seen["missing"] == seen["nothing"] == "NotFoundError: BillPay Number does not exist"
    assert seen["update"]["billAmount"] == 2000
    assert ("billStatus" in seen["update"]) is shapes.patch_whole
    assert seen["inactive"]["billStatus"] == "INACTIVE"
    assert seen["updated"]["billPaymentMode"] == "EXACT"
