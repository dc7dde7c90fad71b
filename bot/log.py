"""Logs: one line an event, JSON or for the eye, on standard error, ours and the libraries' alike.

Promises: no phone number, mail address or credential reaches the stream, whoever logged it, in whatever field,
and in tracebacks too. Contacts keep enough to be recognised (`+255•••3456`); the values of secret settings, and
what looks like a credential, are replaced by `[hidden]`. Does not write files, rotate or ship: the service
manager does.

Source: structlog, "Standard Library Logging", section on rendering with ProcessorFormatter.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from typing import Any, TextIO
from urllib.parse import unquote, urlsplit

from bot.lean import without

# For tracebacks in colour, which are not ours: 10 MB, and an eighth of a worker's start.
with without("rich"):
    import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from bot.domain.contact import mask_text
from bot.settings import Settings

HIDDEN = "[hidden]"

# At INFO these log addresses: Twilio's client whole URLs and bodies, httpx URLs, aiohttp request lines with page
# tokens, aiosmtpd envelopes. Their levels hold even when ours is debug.
QUIET: Mapping[str, int] = {
    "twilio": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "urllib3": logging.WARNING,
    "aiohttp.access": logging.CRITICAL + 1,
    "aiogram.event": logging.WARNING,
    "mail": logging.ERROR,
    "asyncio": logging.WARNING,
}

_SECRET_FIELD = re.compile(
    r"(^|_)(token|secret|password|api_?key|authorization|cookie|checksum|signature)$", re.I
)
_CREDENTIALS = re.compile(
    r"(?<=://)[^\s/@]+(?=@)"  # the user and password of a URL
    r"|(?<=\bbearer )\S+|(?<=\bbasic )\S{8,}"
    r"|(?<![0-9])[0-9]{6,}:[\w-]{30,}",  # a Telegram bot token, which its API carries in the path
    re.I,
)
_OURS = frozenset({"timestamp", "level", "logger"})


def configure(settings: Settings, *, stream: TextIO | None = None) -> None:
    """Send every log line of the process to `stream` (standard error when None); may be called again."""
    level = logging.getLevelNamesMapping()[settings.log_level.upper()]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.stdlib.LoggerFactory(),
    )
    handler = _Handler(stream or sys.stderr)
    handler.setFormatter(_formatter(settings, shared, colors=handler.stream.isatty()))
    _install(handler, level)


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that configuring again replaces it and nothing else."""


def _install(handler: _Handler, level: int) -> None:
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(level)
    for name, least in QUIET.items():
        logging.getLogger(name).setLevel(max(least, level))


def _formatter(settings: Settings, shared: list[Processor], *, colors: bool) -> ProcessorFormatter:
    renderer: Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False, default=str)
        if settings.log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback)
    )
    return ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[
            ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            redactor(settings),
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
    )


def redactor(settings: Settings) -> Processor:
    """A processor that masks contacts and hides credentials, among them every secret value in `settings`."""
    values = sorted(set(_secrets(settings)), key=len, reverse=True)
    known = re.compile("|".join(map(re.escape, values)) or r"(?!)")

    def clean(text: str) -> str:
        return mask_text(_CREDENTIALS.sub(HIDDEN, known.sub(HIDDEN, text)))

    def redact(logger: Any, method: str, event: EventDict) -> EventDict:
        return {key: value if key in _OURS else _clean(key, value, clean) for key, value in event.items()}

    return redact


def _clean(key: str, value: Any, clean: Callable[[str], str]) -> Any:
    if _SECRET_FIELD.search(key):
        return HIDDEN
    if value is None or isinstance(value, bool | float):
        return value
    if isinstance(value, int):
        # A chat id or a phone may come as a number; other numbers stay numbers.
        return value if (text := clean(str(value))) == str(value) else text
    if isinstance(value, Mapping):
        return {clean(str(name)): _clean(str(name), item, clean) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean("", item, clean) for item in value]
    return clean(value.decode(errors="replace") if isinstance(value, bytes) else str(value))


def _secrets(settings: Settings) -> Iterator[str]:
    for setting in fields(settings):
        value = getattr(settings, setting.name) if setting.metadata["secret"] else None
        for text in value if isinstance(value, tuple) else (value,):
            # Anything shorter would blot out ordinary words, and protects nothing.
            yield from (form for form in _forms(text or "") if len(form) >= 4)


def _forms(secret: str) -> Iterator[str]:
    """A secret as it is, and the password of one that is a URL, as written and as the server sees it."""
    yield secret
    if "://" in secret and (password := urlsplit(secret).password):
        yield from (password, unquote(password))
