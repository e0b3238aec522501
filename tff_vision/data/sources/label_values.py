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
    flat = [text for row in found for text in row]
    return Labels(labels=[_BETWEEN.join(row) for row in found], separator=_BETWEEN,
                  class_names=names or _by_number(flat), classes_given=names is not None)
  found = [_text(value, names, where, place) for place, value in enumerate(values)]
  return Labels(labels=found, class_names=names or (_by_number(found) if _are_numbers(values) else None),
                classes_given=names is not None)


def _are_numbers(values):
  return all(isinstance(value, int) and not isinstance(value, bool) for value in values)


def _text(value, names, where, place):
  if value is None or value == _NONE_YET and names is not None:
    raise ValueError(f'{where(place)} has no label.')
  if isinstance(value, float) and value.is_integer():
    value = int(value)
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
