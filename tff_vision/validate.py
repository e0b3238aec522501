"""Named checks for user input: the keyword is the name that the error message shows.

Every function raises `ValueError` with one sentence that holds the name and the value.
"""

import math
import os
from collections.abc import Collection
from typing import Any

from tff_vision import plugins


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


def one_of_or_own(choices: Collection[str], **named: Any) -> None:
  """Each value is one of `choices`, a reference or an object; nothing is imported."""
  for name, value in named.items():
    if value is None or isinstance(value, str) and value not in choices and not plugins.is_reference(value):
      raise ValueError(f'{name} must be one of {", ".join(sorted(choices))}, or package.module:attribute of your own; '
                       f'found {value!r}.')


def writable_file(**named: str) -> None:
  """Each value is a path at which a file can be written, now or after its folders have been made."""
  for name, value in named.items():
    path = os.path.abspath(value)
    if os.path.isdir(path):
      raise ValueError(f'{name}={value!r} is a folder, not a file.')
    folder = os.path.dirname(path)
    while not os.path.lexists(folder):
      folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
      raise ValueError(f'{name}={value!r} cannot be written: {folder} is no folder.')
    if not os.access(folder, os.W_OK | os.X_OK):
      raise ValueError(f'{name}={value!r} cannot be written: no permission to write to {folder}.')
