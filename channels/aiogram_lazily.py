"""Imports aiogram without building its models: each is built when it is first used.

`import aiogram` builds validators for all of Telegram's types, most of its time, for a process that uses a dozen of
them. aiogram asks pydantic to wait (`defer_build`) but builds them all the same at the end of `aiogram/types`, since
only there all names of their annotations are known. Here those names are kept, and given to pydantic when it builds
a model. Import this module before anything of aiogram.

Source: aiogram 3.31 `types/__init__`, `methods/base`; pydantic 2.13 `BaseModel.model_rebuild`.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

_build = BaseModel.model_rebuild.__func__  # type: ignore[attr-defined]
_names: dict[str, Any] = {}


def _keep_names(
    cls: type[BaseModel], /, *, _types_namespace: Mapping[str, Any] | None = None, **how: Any
) -> bool | None:
    if cls.__module__.startswith("aiogram.types.") and _types_namespace:
        _names.update(_types_namespace)
        return None
    built: bool | None = _build(cls, _types_namespace=_types_namespace, **how)
    return built


def _build_with_names(cls: type[BaseModel], /, **how: Any) -> bool | None:
    built: bool | None = _build(cls, **(how | {"_types_namespace": _names}))
    return built


def _import() -> None:
    BaseModel.model_rebuild = classmethod(_keep_names)  # type: ignore[assignment, method-assign]
    try:
        from aiogram.methods.base import Response, TelegramMethod
        from aiogram.types import TelegramObject
    finally:
        BaseModel.model_rebuild = classmethod(_build)  # type: ignore[assignment, method-assign]
    for base in (TelegramObject, TelegramMethod, Response):
        base.model_rebuild = classmethod(_build_with_names)  # type: ignore[assignment, method-assign]


if "aiogram.types" not in sys.modules:
    _import()
