"""Script texts: each business step with the helpers of lua/_lib.lua that it needs, and no others.

A script runs from its first line at every call, and defining all helpers takes the server longer than most steps do.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, lru_cache
from pathlib import Path

KEEP_DAYS = 400  # what lua/_lib.lua says by itself
_FOLDER = Path(__file__).with_name("lua")
_NAMES = re.compile(r"local (?:function )?(\w+(?:, \w+)*)")
_WORD = re.compile(r"\w+")


# Scripts of which many calls go to the server as one, under this name.
MANY = {
    name: f"{name} many" for name in ("accept", "claim", "confirm", "delivery", "know", "reach", "settle")
}
_MANY = """
local function one(KEYS, ARGV)
{body}
end
-- KEYS    those of all calls, the calls of a partition side by side; on a cluster all of one partition
-- ARGV    1 how many arguments each call has  2 how many calls  3... the arguments of all
-- Return  the answer to each, or its error. Counters are written once for all calls of a partition.
local width, most, answers = tonumber(ARGV[1]), tonumber(ARGV[2]), {{}}
local apart = #KEYS / most
local batches, at = {{}}, {{}}
for before = 0, most - 1 do
  local prefix = KEYS[before * apart + 1]
  if not at[prefix] then
    if prefix ~= P and newer(prefix) then return newer(prefix) end
    at[prefix] = {{ prefix = prefix }}
    batches[#batches + 1] = at[prefix]
  end
  table.insert(at[prefix], before)
end
local function answer(before)
  local keys, args = {{}}, {{}}
  for i = 1, apart do keys[i] = KEYS[before * apart + i] end
  for i = 1, width do args[i] = ARGV[before * width + i + 2] end
  local fine, said = pcall(one, keys, args)
  if not fine and type(said) ~= 'table' then said = redis.error_reply('ERR ' .. tostring(said)) end
  answers[before + 1] = said
end
for _, calls in ipairs(batches) do
  -- What the helpers know of a partition is of this one from here on.
  P, woken, prices = calls.prefix, {{}}, nil
  if #calls > 1 then in_batch(calls, answer) else answer(calls[1]) end
end
return answers
"""


def names() -> list[str]:
    """Every script."""
    return sorted([*(path.stem for path in _FOLDER.glob("[a-z]*.lua")), *MANY.values()])


@cache
def text(name: str, keep_days: int = KEEP_DAYS) -> str:
    """A script as the server gets it: its `#!lua` line, the helpers it needs, itself.

    `keep_days` is how long what is over is kept (TUMA_KEEP_DAYS); processes that disagree only send other texts.
    """
    single = name.removesuffix(" many")
    head, _, body = (_FOLDER / f"{single}.lua").read_text().partition("\n")
    body = _bare(body)
    if name != single:
        body = _bare(_MANY.format(body=body))
    helpers = _needed(body).replace(f"local KEEP_DAYS = {KEEP_DAYS}\n", f"local KEEP_DAYS = {keep_days}\n")
    return f"{head}\n{helpers}\n{body}"


def _bare(text: str) -> str:
    """Without comments and blank lines: what a comment says needs no helper."""
    lines = text.splitlines()
    return "\n".join(line for line in lines if line.strip() and not line.lstrip().startswith("--"))


def _needed(body: str) -> str:
    """The statements of the library that the script, or one of them, names; those that declare nothing always run."""
    wanted = set(_WORD.findall(body))
    kept = []
    for statement, declared, words in reversed(_library()):  # a helper names only what stands before it
        if not declared or declared & wanted:
            kept.append(statement)
            wanted |= words
    return "\n".join(reversed(kept))


@lru_cache(maxsize=1)
def _library() -> list[tuple[str, frozenset[str], frozenset[str]]]:
    """Top-level statements in order: text without comments, the names they declare, every word in them."""
    found = []
    for statement in _statements((_FOLDER / "_lib.lua").read_text()):
        declares = _NAMES.match(statement)
        declared = frozenset(declares[1].split(", ")) if declares else frozenset()
        found.append((statement, declared, frozenset(_WORD.findall(statement))))
    return found


def _statements(text: str) -> Iterator[str]:
    """Each begins at the margin, and goes on over what is indented or closes it."""
    lines: list[str] = []
    for line in text.splitlines():
        if not line.strip() or line.lstrip().startswith("--"):
            continue
        if lines and not line[0].isspace() and line.split()[0] not in ("end", "else", "elseif", "}", "})"):
            yield "\n".join(lines)
            lines = []
        lines.append(line)
    if lines:
        yield "\n".join(lines)
