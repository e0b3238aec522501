"""Named checks for user input: the keyword is the name that the error message shows.

Every function raises `ValueError` with one sentence that holds the name and the value.
"""

import math
from collections.abc import Collection


def positive(**named: float) -> None:
  """Each value is a finite number above zero."""
  for name, value in named.items():
    if not (math.isfinite(value) and value > 0):
      raise ValueError(f'{name} must be positive, found {value!r}.')


def non_negative(**named: float) -> None:
  """Each value is a finite number, zero or above."""
  for name, value in named.items():
    if not (math.isfinite(value) and value >= 0):
      raise ValueError(f'{name} must be zero or more, found {value!r}.')


def open_unit(**named: float) -> None:
  """Each value lies strictly between 0 and 1."""
  for name, value in named.items():
    if not 0 < value < 1:
      raise ValueError(f'{name} must lie strictly between 0 and 1, found {value!r}.')


def fraction(**named: float) -> None:
  """Each value is zero or more and below 1."""
  for name, value in named.items():
    if not 0 <= value < 1:
      raise ValueError(f'{name} must be zero or more and below 1, found {value!r}.')


def one_of(choices: Collection[str], **named: str) -> None:
  """Each value is one of `choices`."""
  for name, value in named.items():
    if value not in choices:
      raise ValueError(f'{name} must be one of {", ".join(sorted(choices))}; found {value!r}.')
