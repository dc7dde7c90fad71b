"""Where templates are: the shipped folder, and a merchant's own folder that wins file by file.

Finds and names files; it neither reads their language nor renders. Only files seen at the start exist, so a
share cannot name its way out of the folders.

A message is written in the first folder that has all of its parts: the set asked for, then `default`; within
each the customer's locale, then the merchant's, then English.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from bot.domain.message import Kind
from bot.errors import TemplateError
from channels.base import ChannelName

DEFAULT_SET = "default"
LAST_LOCALE = "en"
# The files that make up one message of a channel.
PARTS: dict[ChannelName, tuple[str, ...]] = {
    ChannelName.SMS: ("sms.txt",),
    ChannelName.WHATSAPP: ("whatsapp.txt",),
    ChannelName.EMAIL: ("email.subject.txt", "email.txt", "email.html"),
    ChannelName.TELEGRAM: ("telegram.html",),
}
# Folders beside the template sets that other parts of tuma read.
_NOT_SETS = {"pages"}


def templates_dir() -> Path:
    """The shipped templates: inside the installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_templates"
    return inside if inside.is_dir() else package.parent / "templates"


@dataclass(frozen=True, slots=True)
class Bundle:
    """The files of one message: `names` in the order of `PARTS`, all in `locale`."""

    set: str
    locale: str
    names: tuple[str, ...]


class Library:
    """The index of all template files. `overrides` is the merchant's folder, None when there is none."""

    def __init__(self, shipped: Path, overrides: Path | None, default_locale: str) -> None:
        self.default_locale = default_locale
        self._files = dict(_walk(shipped))
        self.overridden = dict(_walk(overrides)) if overrides is not None else {}
        self._files.update(self.overridden)
        self._bundles: dict[tuple[str, str, Kind, ChannelName], Bundle] = {}

    @property
    def names(self) -> list[str]:
        """Every file as "<set>/<locale>/<file>", sorted."""
        return sorted(self._files)

    @property
    def sets(self) -> list[str]:
        """Every template set."""
        return sorted({name.partition("/")[0] for name in self._files})

    def locales(self, template_set: str) -> list[str]:
        """Every locale a set has a folder for."""
        parts = [name.split("/") for name in self._files]
        return sorted({part[1] for part in parts if part[0] == template_set and len(part) == 3})

    def path(self, name: str) -> Path | None:
        """Where a file is, None if there is none."""
        return self._files.get(name)

    def source(self, name: str) -> str | None:
        """The text of a file, None if there is none. Raises TemplateError when it is not UTF-8."""
        path = self._files.get(name)
        try:
            return path.read_text(encoding="utf-8") if path is not None else None
        except UnicodeDecodeError as error:
            raise TemplateError(f"{name}: not UTF-8 text") from error

    def bundle(self, template_set: str, locale: str, kind: Kind, channel: ChannelName) -> Bundle:
        """The files of one message. Raises TemplateError when no folder has them all."""
        key = (template_set, self._known(locale), kind, channel)
        found = self._bundles.get(key)
        if found is None:
            found = self._bundles[key] = self._search(*key)
        return found

    def chain(self, template_set: str, locale: str) -> Iterator[tuple[str, str]]:
        """The (set, locale) folders that are tried, in order, each once."""
        locales = [locale, locale.partition("_")[0], self.default_locale, LAST_LOCALE]
        return iter(dict.fromkeys((s, loc) for s in (template_set, DEFAULT_SET) for loc in locales))

    @cached_property
    def version(self) -> str:
        """Twelve hex digits that change whenever any template does."""
        digest = hashlib.sha256()
        for name in self.names:
            digest.update(name.encode() + b"\0" + self._files[name].read_bytes() + b"\0")
        return digest.hexdigest()[:12]

    def _known(self, locale: str) -> str:
        # Shares bring any locale; what is kept per locale must not grow with them.
        wanted = locale.replace("-", "_")
        language = wanted.partition("_")[0]
        return next((name for name in (wanted, language) if name in self._locales), self.default_locale)

    @cached_property
    def _locales(self) -> set[str]:
        return {locale for template_set in self.sets for locale in self.locales(template_set)}

    def _search(self, template_set: str, locale: str, kind: Kind, channel: ChannelName) -> Bundle:
        if template_set not in self.sets:
            raise TemplateError(f"no template set {template_set!r}; there are {', '.join(self.sets)}")
        for folder_set, folder_locale in self.chain(template_set, locale):
            names = tuple(f"{folder_set}/{folder_locale}/{kind}.{part}" for part in PARTS[channel])
            if all(name in self._files for name in names):
                return Bundle(folder_set, folder_locale, names)
        raise TemplateError(
            f"no template {template_set}/{locale}/{kind}.{PARTS[channel][-1]}, in no fallback either"
        )


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in name.parts)
        if path.is_file() and len(name.parts) > 1 and name.parts[0] not in _NOT_SETS and not hidden:
            yield name.as_posix(), path
