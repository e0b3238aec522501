"""Turns the values of a label column into texts, from which classes or findings are made."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

_BETWEEN = '\x1f'
_NONE_YET = -1  # The class number that Hugging Face gives to examples whose label is not told.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labels:
  """[n] labels; the attributes are those of `listing.Listing`."""
  labels: Sequence[str]
  separator: str | None = None
  class_names: Sequence[str] | None = None
  classes_given: bool = False


def texts(values: Sequence[Any], names: Sequence[str] | None, where: Callable[[int], str]) -> Labels:
  """Returns labels as texts.

  Args:
    values: [n] texts, whole numbers, truth values, or lists of them, which are findings.
    names: The name of each class number, if they are told.
    where: Function from a position in `values` to its name in messages.

  Raises:
    ValueError: A label is missing, is of another type, or is no class.
  """
  lists = [isinstance(value, (list, tuple)) for value in values]
  if any(lists):
    if not all(lists):
      odd = lists.index(False)
      raise ValueError(f'{where(odd)} has the label {values[odd]!r}, and others have lists of findings.')
    found = [[_text(value, names, where, place) for value in row] for place, row in enumerate(values)]
    _refuse_indicators(values, where)
    flat = [text for row in found for text in row]
    return Labels(labels=[_BETWEEN.join(row) for row in found], separator=_BETWEEN,
                  class_names=names or _by_number(flat), classes_given=names is not None)
  found = [_text(value, names, where, place) for place, value in enumerate(values)]
  kinds = [isinstance(value, (str, bytes)) for value in values]
  if names is None and len(set(kinds)) > 1:
    text, number = kinds.index(True), kinds.index(False)
    raise ValueError(f'{where(text)} has the label {values[text]!r}, a text, and {where(number)} {values[number]!r}, a '
                     'number: give all labels as texts, or all as numbers.')
  return Labels(labels=found, class_names=names or (_by_number(found) if _are_numbers(values) else None),
                classes_given=names is not None)


def client(value: Any, what: str) -> str | None:
  """Returns a client's name as a text; None if it has none.

  Args:
    value: A text, a number, or None.
    what: Where it stands, for messages.

  Raises:
    ValueError: It is bytes that are no UTF-8.
  """
  if value is None or value != value:  # NaN is how tables of numbers write that a value is missing.
    return None
  if isinstance(value, bytes):
    return of_bytes(value, f'{what}: the client')
  return str(int(value) if isinstance(value, float) and value.is_integer() else value)


def of_bytes(value: bytes, what: str) -> str:
  """Returns bytes as text.

  Raises:
    ValueError: They are no UTF-8.
  """
  try:
    return value.decode('utf-8-sig')
  except UnicodeDecodeError:
    raise ValueError(f'{what} is {value[:40]!r}, which is no UTF-8.') from None


def _refuse_indicators(rows, where):
  """Refuses lists that say 0 or 1 of each class, where lists name the findings of an image.

  Raises:
    ValueError: A list holds a number twice, which no list of findings does, or truth values; or all lists hold 0 and 1,
      each once, which as findings would tell nothing.
  """
  both = bool(rows) and all(len(row) == 2 and set(row) == {0, 1} for row in rows)
  for place, row in enumerate(rows):
    told = any(isinstance(value, (str, bytes)) for value in row)
    twice = len(set(row)) < len(row) and not told
    if twice or both or any(isinstance(value, bool) for value in row):
      why = 'in which a number occurs twice' if twice else 'and every image such a one' if both else 'of truth values'
      raise ValueError(f'{where(place)} has the label {list(row)[:12]}, {why}: a list names the findings of an image, '
                       'each once, and does not say 0 or 1 of each class.')


def _are_numbers(values):
  return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _text(value, names, where, place):
  if value is None or value == _NONE_YET and names is not None:
    raise ValueError(f'{where(place)} has no label.')
  if isinstance(value, float) and value.is_integer():
    value = int(value)
  if isinstance(value, bytes):
    value = of_bytes(value, f'{where(place)}: the label')
  if not isinstance(value, (str, int)):
    raise ValueError(f'{where(place)} has the label {value!r}, which is neither a text nor a whole number.')
  if names is None or isinstance(value, str):
    return str(value)
  if not 0 <= value < len(names):
    raise ValueError(f'{where(place)} has the label {value}, and {len(names)} classes are named.')
  return names[value]


def _by_number(labels):
  """Returns the different labels in the order of their numbers; None if some are no numbers."""
  try:
    return tuple(sorted(set(labels), key=int))
  except ValueError:
    return None
