"""Reads JSON objects strictly: every name is known and there, every value has its type, or one sentence says which not.
"""

from collections.abc import Collection, Mapping
from typing import Any

from tff_vision.configs import typed


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
      raise ValueError(f'{what} lacks or has unknown names: {", ".join(wrong):.200}.')
    self.content: Mapping[str, Any] = found
    self._what = what

  def value(self, name: str) -> Any:
    return self.content[name]

  def text(self, name: str) -> str:
    return self._of(name, str, 'a text')

  def flag(self, name: str) -> bool:
    return self._of(name, bool, 'true or false')

  def whole(self, name: str) -> int:
    return self._each(name, [self.content[name]], typed.is_whole, 'a whole number')[0]

  def list(self, name: str) -> list[Any]:
    return self._of(name, list, 'a list')

  def mapping(self, name: str) -> dict[str, Any]:
    return self._of(name, dict, 'a JSON object')

  def texts(self, name: str) -> tuple[str, ...]:
    return self._each(name, self.list(name), lambda one: isinstance(one, str), 'a list of texts')

  def wholes(self, name: str) -> tuple[int, ...]:
    return self._each(name, self.list(name), typed.is_whole, 'a list of whole numbers')

  def numbers(self, name: str) -> tuple[float, ...]:
    return tuple(map(float, self._each(name, self.list(name), typed.is_number, 'a list of numbers')))

  def text_of_each(self, name: str) -> dict[str, str]:
    """Returns a JSON object of texts."""
    found = self.mapping(name)
    self._each(name, found.values(), lambda one: isinstance(one, str), 'a JSON object of texts')
    return found

  def _of(self, name, kind, said):
    found = self.content[name]
    if not isinstance(found, kind):
      raise ValueError(f'{self._what}: {name} must be {said}, found {found!r:.60}.')
    return found

  def _each(self, name, found, legal, said):
    if not all(map(legal, found)):
      raise ValueError(f'{self._what}: {name} must be {said}, found {self.content[name]!r:.60}.')
    return tuple(found)
