"""Writes JSON files atomically."""

import json
import math
import os
import pathlib
from typing import Any

from tff_vision.program import whole_file

_NO_NUMBERS = ('inf', '-inf', 'nan')


def write(path: str | os.PathLike, content: Any) -> None:
  """Writes `content` to `path` atomically; numbers that JSON cannot hold become the strings 'inf', '-inf', 'nan'.

  Raises:
    ValueError: The file cannot be written.
  """
  whole_file.write(path, json.dumps(_finite(content), indent=2, allow_nan=False) + '\n')


def read(path: str | os.PathLike) -> dict[str, Any]:
  """Returns the object that the file holds.

  Raises:
    ValueError: The file is missing or holds no JSON object.
  """
  try:
    found = json.loads(pathlib.Path(path).read_text())
  except FileNotFoundError:
    raise ValueError(f'There is no file {str(path)!r}.') from None
  except OSError as error:
    raise ValueError(f'File {str(path)!r} cannot be read: {error.strerror}.') from None
  except ValueError as error:  # Not JSON, or not text.
    raise ValueError(f'File {str(path)!r} is no JSON: {error}.') from None
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


def _finite(value):
  if isinstance(value, dict):
    return {str(key): _finite(element) for key, element in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(element) for element in value]
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  return value
