"""Values of fields as files hold them: each must have its field's type, or one sentence names the field."""

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

_LARGEST = 2**63


def check(section: type, values: Mapping[str, Any]) -> None:
  """Refuses a value of another type than that of its field; values are JSON types.

  Args:
    section: A dataclass.
    values: The values of some of its fields, by name.

  Raises:
    ValueError: Names the field and the value.
  """
  hints = typing.get_type_hints(section)
  for field in dataclasses.fields(section):
    if field.name in values and not _is(values[field.name], hints[field.name]):
      raise ValueError(f'{field.name} must be {_said(hints[field.name])}, found {values[field.name]!r:.60}.')


def is_whole(value: Any) -> bool:
  """Returns whether a value is a whole number of 64 bits; true and false are none."""
  return isinstance(value, int) and not isinstance(value, bool) and abs(value) < _LARGEST


def is_number(value: Any) -> bool:
  """Returns whether a value is a number, of 64 bits if it is a whole one, and not NaN."""
  return is_whole(value) or isinstance(value, float) and value == value


def _is(value, hint):
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return any(_is(value, one) for one in typing.get_args(hint))
  if typing.get_origin(hint) is tuple:
    return isinstance(value, (list, tuple)) and all(_is(one, typing.get_args(hint)[0]) for one in value)
  if hint is typing.Any:  # A name, or nothing: no file holds an object.
    return value is None or isinstance(value, str)
  if hint is int:
    return is_whole(value)
  if hint is float:
    return is_number(value)
  return isinstance(value, hint)


_WORDS = {int: 'a whole number', float: 'a number', str: 'a text', bool: 'true or false', types.NoneType: 'null',
          typing.Any: 'a name'}


def _said(hint):
  if typing.get_origin(hint) in (typing.Union, types.UnionType):
    return ' or '.join(map(_said, typing.get_args(hint)))
  if typing.get_origin(hint) is tuple:
    return f'a list, each {_said(typing.get_args(hint)[0])}'
  return _WORDS[hint]
