"""The files that customers' pages are made of: templates, words in two languages, one style sheet.

Files of `templates/pages`, or of the merchant's own folder where it has the same file. A page is one answer: the style
is inline and allowed by its hash alone, there is no script, and nothing is fetched from anywhere.
"""

from __future__ import annotations

import base64
import hashlib
import tomllib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from bot.errors import TemplateError
from bot.render.jinja import Sandbox
from bot.render.library import templates_dir

LANGUAGES = ("sw", "en")
_FOLDER = "pages"
# What a text may name. `channel` stays as it is until a text about one channel is wanted.
_BLANK = dict.fromkeys(("merchant", "tin", "amount", "total", "paid", "due", "channels"), "")
_BLANK["channel"] = "{channel}"


class PageFiles:
    """Reads and renders the page files. Raises TemplateError at once if there are no words."""

    def __init__(self, overrides: Path | None = None) -> None:
        own = [overrides / _FOLDER] if overrides is not None else []
        self._folders = [*own, templates_dir() / _FOLDER]
        self._sandbox = Sandbox(self._source)
        self._words = self._read_words()

    def policy(self, style: str) -> str:
        """Content-Security-Policy of a page with that style sheet: nothing but it, and forms to ourselves."""
        digest = base64.b64encode(hashlib.sha256(self._style(style).encode()).digest()).decode()
        own = f"style-src 'sha256-{digest}'; form-action 'self'"
        return f"default-src 'none'; {own}; base-uri 'none'; frame-ancestors 'none'"

    def words(self, lang: str, facts: Mapping[str, str]) -> dict[str, str]:
        """Every text of a language with facts filled in, blank where there are none. Raises TemplateError."""
        filled = {}
        for name, text in self._words[lang].items():
            try:
                filled[name] = text.format_map({**_BLANK, **facts})
            except (KeyError, ValueError, IndexError) as error:
                raise TemplateError(f"{_FOLDER}/words.toml: {lang}.{name}: {error}") from error
        return filled

    def render(self, name: str, style: str, values: Mapping[str, Any]) -> str:
        """One page with its style sheet. Raises TemplateError naming file, line and variable."""
        return self._sandbox.render(name, {"style": self._style(style), **values})

    def _style(self, name: str) -> str:
        return self._read(name).strip()

    def _source(self, name: str) -> str | None:
        if "/" in name or "\\" in name or name.startswith("."):
            return None
        path = next((path for folder in self._folders if (path := folder / name).is_file()), None)
        return None if path is None else _text(path, path.stat().st_mtime_ns)

    def _read(self, name: str) -> str:
        text = self._source(name)
        if text is None:
            raise TemplateError(f"{_FOLDER}/{name} is missing")
        return text

    def _read_words(self) -> dict[str, dict[str, str]]:
        try:
            words = tomllib.loads(self._read("words.toml"))
        except tomllib.TOMLDecodeError as error:
            raise TemplateError(f"{_FOLDER}/words.toml: not valid TOML: {error}") from error
        missing = [lang for lang in LANGUAGES if not isinstance(words.get(lang), dict)]
        if missing:
            raise TemplateError(f"{_FOLDER}/words.toml: no section {missing[0]}")
        return {lang: words[lang] for lang in LANGUAGES}


@lru_cache(maxsize=64)
def _text(path: Path, changed_ns: int) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(f"{_FOLDER}/{path.name}: not UTF-8 text") from error
