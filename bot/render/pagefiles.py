"""The files that customers' pages are made of: templates, words in two languages, style sheets, one script.

Files of `templates/pages`, or of the merchant's own folder where it has the same file. A page is one answer: style and
script are inline and allowed by their hashes alone, and nothing is fetched from anywhere else.

Source: W3C Content Security Policy Level 3.
"""

from __future__ import annotations

import base64
import hashlib
import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

from bot.errors import TemplateError
from bot.render.jinja import Sandbox
from bot.render.library import templates_dir
from bot.render.look import GREEN

LANGUAGES = ("sw", "en")
_FOLDER, _WORDS = "pages", "words.toml"
# What a text may name. `channel`, `code`, `whole` and `count` stay as they are until one of several is wanted.
_BLANK = dict.fromkeys(("merchant", "tin", "amount", "total", "paid", "due", "channels", "ending"), "")
_BLANK |= {"channel": "{channel}", "code": "{code}", "whole": "{whole}", "count": "{count}"}
_ROOT = re.compile(r":root\s*\{([^}]*)\}")
_DEFINED = re.compile(r"(--[\w-]+)\s*:\s*([^;]+?)\s*(?:;|$)")
_VARIABLE = re.compile(r"var\((--[\w-]+)\)")
_DECLARED = re.compile(r"(?<=[{;\s])[a-z][a-z-]*\s*:[^;{}]*var\(--[\w-]+\)[^;{}]*(?=[;}])")


def language(name: str, otherwise: str = LANGUAGES[0]) -> str:
    """A language that pages have: `name`, or else `otherwise`, or else the first."""
    return name if name in LANGUAGES else otherwise if otherwise in LANGUAGES else LANGUAGES[0]


class PageFiles:
    """Reads and renders the page files. Raises TemplateError at once if the words cannot be read."""

    def __init__(self, overrides: Path | None = None, colour: str = GREEN) -> None:
        own = [overrides / _FOLDER] if overrides is not None else []
        self._folders = [*own, templates_dir() / _FOLDER]
        self._sandbox = Sandbox(self._source)
        self._words = self._read_words()
        self._colour = colour

    def policy(self, style: str, *, script: str | None = None, frames: Sequence[str] = ()) -> str:
        """Content-Security-Policy of a page with these files; `frames` are the origins that may frame it."""
        own = [f"style-src {_hash(self._style(style))}", "img-src data:", "form-action 'self'"]
        if script is not None:
            own += [f"script-src {_hash(self._read(script).strip())}", "connect-src 'self'"]
        ancestors = " ".join(frames) or "'none'"
        return "; ".join(("default-src 'none'", *own, "base-uri 'none'", f"frame-ancestors {ancestors}"))

    def words(self, lang: str, facts: Mapping[str, str]) -> dict[str, str]:
        """Every text of a language with facts filled in, blank where there are none. Raises TemplateError."""
        filled, known = dict(self._words[lang]), {**_BLANK, **facts}
        for name, text in filled.items():
            if "{" not in text and "}" not in text:
                continue
            try:
                filled[name] = text.format_map(known)
            except (KeyError, ValueError, IndexError) as error:
                raise TemplateError(f"{_FOLDER}/{_WORDS}: {lang}.{name}: {error}") from error
        return filled

    def render(self, name: str, style: str, values: Mapping[str, Any], script: str | None = None) -> str:
        """One page with its style sheet and script. Raises TemplateError naming file, line and variable."""
        inline = {"style": self._style(style), "script": self._read(script).strip() if script else ""}
        return self._sandbox.render(name, {**inline, **values})

    def _style(self, name: str) -> str:
        return _for_old_browsers(f":root{{--brand:{self._colour}}}\n{self._read(name).strip()}")

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
        """The shipped texts and, over them, those of the merchant's own file, which need not have all."""
        words: dict[str, dict[str, str]] = {lang: {} for lang in LANGUAGES}
        for path in [folder / _WORDS for folder in reversed(self._folders) if (folder / _WORDS).is_file()]:
            try:
                own = tomllib.loads(_text(path, path.stat().st_mtime_ns))
            except tomllib.TOMLDecodeError as error:
                raise TemplateError(f"{_FOLDER}/{_WORDS}: not valid TOML: {error}") from error
            for lang in LANGUAGES:
                section = own.get(lang, {})
                if not isinstance(section, dict):
                    raise TemplateError(f"{_FOLDER}/{_WORDS}: {lang} is no section")
                words[lang] |= section
        return words


@lru_cache(maxsize=16)
def _for_old_browsers(css: str) -> str:
    """A style sheet in which a plain declaration stands before each that has a variable.

    Browsers of old phones know no variables and pass over what has one; others take the last that they understand.
    The values are those of the `:root` rules before the first `@media`: the light ones.
    """
    roots = ";".join(_ROOT.findall(css.partition("@media")[0]))
    known = dict(_DEFINED.findall(roots))

    def both(match: re.Match[str]) -> str:
        plain = _VARIABLE.sub(lambda found: known.get(found[1], found[0]), match[0])
        return match[0] if "var(" in plain else f"{plain}; {match[0]}"

    return _DECLARED.sub(both, css)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@lru_cache(maxsize=64)
def _text(path: Path, changed_ns: int) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise TemplateError(f"{_FOLDER}/{path.name}: not UTF-8 text") from error
