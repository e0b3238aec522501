"""JSON files that are whole or absent."""

import json
import math
import os
import pathlib
from typing import Any

from tff_vision.program import whole_file


def write(path: str | os.PathLike, content: Any) -> None:
  """Writes `content` to `path` at once; numbers that JSON cannot hold become the strings 'inf', '-inf', 'nan'.

  Raises:
    ValueError: The file cannot be written.
  """
  whole_file.write(path, json.dumps(_finite(content), indent=2, allow_nan=False) + '\n')


def read(path: str | os.PathLike) -> Any:
  """Returns what the file holds.

  Raises:
    ValueError: It is missing or no JSON.
  """
  try:
    return json.loads(pathlib.Path(path).read_text())
  except FileNotFoundError:
    raise ValueError(f'There is no file {str(path)!r}.') from None
  except json.JSONDecodeError as error:
    raise ValueError(f'File {str(path)!r} is no JSON: {error}.') from None


def _finite(value):
  if isinstance(value, dict):
    return {str(key): _finite(element) for key, element in value.items()}
  if isinstance(value, (list, tuple)):
    return [_finite(element) for element in value]
  if isinstance(value, float) and not math.isfinite(value):
    return str(value)
  return value
