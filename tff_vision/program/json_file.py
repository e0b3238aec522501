"""Writes JSON files atomically, and reads them strictly."""

import json
import math
import os
import pathlib
from typing import Any

from tff_vision.program import whole_file

_NO_NUMBERS = ('inf', '-inf', 'nan')
_DEEPEST = 100


def write(path: str | os.PathLike, content: Any) -> None:
  """Writes `content` to `path` atomically; numbers that JSON cannot hold become the strings 'inf', '-inf', 'nan'.

  Raises:
    ValueError: The file cannot be written.
  """
  whole_file.write(path, json.dumps(_finite(content), indent=2, allow_nan=False) + '\n')


def load(path: str | os.PathLike[str], what: str = '', *, made_by: str = '') -> Any:
  """Returns what the file holds: JSON of UTF-8, in which every number is finite and every name stands once.

  Args:
    what: Names the file in errors, such as "plan='plan.json'"; '': its path does.
    made_by: What is said of a file that is missing, such as 'python -m pipelines.plan makes one'.

  Raises:
    ValueError: The file is missing, cannot be read, or is no JSON.
  """
  what = what or f'File {str(path)!r}'
  try:
    found = json.loads(pathlib.Path(path).read_text('utf-8'), parse_float=_number, parse_constant=_number,
                       object_pairs_hook=_without_twins)
    _check(found, _DEEPEST)
    return found
  except FileNotFoundError:
    raise ValueError(f'{what} cannot be read: there is no such file{"; " if made_by else ""}{made_by}.') from None
  except OSError as error:
    raise ValueError(f'{what} cannot be read: {error.strerror}.') from None
  except RecursionError:
    raise ValueError(f'{what} is no JSON: it is nested too deep.') from None
  except ValueError as error:  # Not JSON, or not text.
    raise ValueError(f'{what} is no JSON: {error}.') from None


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
  """Returns the object that the file holds.

  Raises:
    ValueError: The file is missing or holds no JSON object.
  """
  found = load(path)
  if not isinstance(found, dict):
    raise ValueError(f'File {str(path)!r} holds no JSON object, found {str(found)[:40]!r}.')
  return found


def with_numbers(value: Any) -> Any:
  """Returns a value from `read` in which the strings 'inf', '-inf', 'nan' are numbers again."""
  if isinstance(value, dict):
    return {key: with_numbers(element) for key, element in value.items()}
  if isinstance(value, list):
    return [with_numbers(element) for element in value]
  return float(value) if isinstance(value, str) and value in _NO_NUMBERS else value


def _number(text):
  if not math.isfinite(found := float(text)):
    raise ValueError(f'{text} is no number')
  return found


def _without_twins(pairs):
  found = dict(pairs)
  if len(found) < len(pairs):
    names = [name for name, _ in pairs]
    raise ValueError(f'the name {max(names, key=names.count)!r:.60} is there twice')
  return found


def _check(value, depth):
  """Refuses what could be read and neither be shown nor written again."""
  if not depth:
    raise ValueError('it is nested too deep')
  if isinstance(value, dict):
    for name, element in value.items():
      _check(name, depth)
      _check(element, depth - 1)
  elif isinstance(value, list):
    for element in value:
      _check(element, depth - 1)
  elif isinstance(value, str):
    value.encode()  # Half of a character has no bytes.


def _finite(value):
  if isinstance(value, dict):
    return {str(key): _finite(element) for key, element in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(element) for element in value]
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  return value
