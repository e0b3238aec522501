"""Which keys of a report the table of keys does not name."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from tff_vision.report import keys as report_keys


def undocumented(report: Mapping[str, Any]) -> set[str]:
  """Returns the keys of report.json that `report_keys.KEYS` does not name, `/` between a key and one within it."""
  return {path for path in paths(report) if not is_documented(path)}


def is_documented(path: str) -> bool:
  """Returns whether the table names a key, one within it, or all of an object that it lies in."""
  return any(re.fullmatch(pattern, path) for pattern in _PATTERNS)


def paths(value: Any, path: str = '') -> Iterator[str]:
  """Yields each key of nested objects; `[]` stands for the elements of a list."""
  if isinstance(value, Mapping):
    for name, inner in value.items():
      here = f'{path}/{name}' if path else str(name)
      yield here
      yield from paths(inner, here)
  elif isinstance(value, (list, tuple)):
    for inner in value:
      yield from paths(inner, f'{path}[]')


def _patterns() -> Iterator[str]:
  for key in report_keys.KEYS:
    yield re.escape(key[:-2]) + '(/.*)?' if key.endswith('/*') else re.escape(key)
    for end in re.finditer('/', key):
      yield re.escape(key[:end.start()].removesuffix('[]'))
    yield re.escape(key.removesuffix('[]'))


_PATTERNS = sorted(set(_patterns()))
