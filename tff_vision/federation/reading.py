"""Reads JSON objects strictly: every name is known and there, every value has its type, or one sentence says which not.
"""

import dataclasses
import json
import math
import os
import pathlib
from collections.abc import Collection, Mapping
from typing import Any


def json_of(path: str | os.PathLike[str], what: str, *, made_by: str = '') -> Any:
  """Returns what a JSON file holds.

  Args:
    what: Names the file in errors, such as "plan='plan.json'".
    made_by: What is said of a file that is missing, such as 'python -m pipelines.plan makes one'.

  Raises:
    ValueError: The file is missing, cannot be read, or is no JSON.
  """
  try:
    return json.loads(pathlib.Path(path).read_text())
  except FileNotFoundError:
    raise ValueError(f'{what} cannot be read: there is no such file{"; " if made_by else ""}{made_by}.') from None
  except OSError as error:
    raise ValueError(f'{what} cannot be read: {error.strerror}.') from None
  except ValueError as error:  # Not JSON, or not text.
    raise ValueError(f'{what} is no JSON: {error}.') from None


def versioned(what: str, found: Any, kind: type, version: int, *, made_by: str) -> 'Part':
  """Returns the object that holds the fields of a dataclass, of which `version` is one.

  Args:
    made_by: The command that makes one of this version.

  Raises:
    ValueError: It is of another version, which is said first, because versions differ in names; or as `Part`.
  """
  if isinstance(found, dict) and 'version' in found and found['version'] != version:
    raise ValueError(f'{what} has version {found["version"]!r:.60}; this version reads {version}: make it again with '
                     f'{made_by}.')
  part = Part(what, found, [field.name for field in dataclasses.fields(kind)])
  part.whole('version')  # To Python, true and 1.0 are 1.
  return part


class Part:
  """A JSON object of exactly the expected names; each method returns one value, of one type.

  Attributes:
    content: The object.

  Raises:
    ValueError: From every method and on construction; names the part and the value.
  """

  def __init__(self, what: str, found: Any, names: Collection[str]):
    """Args: `what` begins the sentences of errors."""
    if not isinstance(found, dict):
      raise ValueError(f'{what} must be a JSON object, found {found!r:.60}.')
    if wrong := sorted(set(found) ^ set(names)):
      raise ValueError(f'{what} lacks or has unknown names: {", ".join(wrong)}.')
    self.content: Mapping[str, Any] = found
    self._what = what

  def value(self, name: str) -> Any:
    return self.content[name]

  def text(self, name: str) -> str:
    return self._of(name, str, 'a text')

  def flag(self, name: str) -> bool:
    return self._of(name, bool, 'true or false')

  def whole(self, name: str) -> int:
    return self._each(name, [self.content[name]], _is_whole, 'a whole number')[0]

  def list(self, name: str) -> list[Any]:
    return self._of(name, list, 'a list')

  def mapping(self, name: str) -> dict[str, Any]:
    return self._of(name, dict, 'a JSON object')

  def texts(self, name: str) -> tuple[str, ...]:
    return self._each(name, self.list(name), lambda one: isinstance(one, str), 'a list of texts')

  def wholes(self, name: str) -> tuple[int, ...]:
    return self._each(name, self.list(name), _is_whole, 'a list of whole numbers')

  def numbers(self, name: str) -> tuple[float, ...]:
    found = self._each(name, self.list(name), lambda one: isinstance(one, (int, float)) and not isinstance(one, bool)
                       and math.isfinite(one), 'a list of numbers')
    return tuple(float(one) for one in found)

  def _of(self, name, kind, said):
    found = self.content[name]
    if not isinstance(found, kind):
      raise ValueError(f'{self._what}: {name} must be {said}, found {found!r:.60}.')
    return found

  def _each(self, name, found, legal, said):
    if not all(map(legal, found)):
      raise ValueError(f'{self._what}: {name} must be {said}, found {self.content[name]!r:.60}.')
    return tuple(found)


def _is_whole(value):
  return isinstance(value, int) and not isinstance(value, bool)
