"""Checks of user input; the keyword of a check is the name in its error message.

Every function raises `ValueError` with one sentence that holds the name and the value.
"""

import difflib
import math
import numbers
import os
import re
from collections.abc import Collection
from typing import Any

from tff_vision import plugins

_ADDRESS = re.compile(r'(?:[\w.-]+|\[[0-9a-fA-F:.]+\]):([0-9]{1,5})')

MOST_NOISE = 2**26  # Deviations of more would overflow `privacy.noise.integer_gaussian`; a test checks it.
_LEAST_NOISE = 1e-9  # Accountants divide by squares of it, and take exponentials.


def positive(**named: float) -> None:
  """Each value is a finite number above zero."""
  _numbers(named)
  for name, value in named.items():
    if not (math.isfinite(value) and value > 0):
      raise ValueError(f'{name} must be positive, found {value!r}.')


def at_most(largest: float, **named: float) -> None:
  """Each value is `largest` or less."""
  for name, value in named.items():
    if value > largest:
      raise ValueError(f'{name} must be at most {largest}, found {value!r}.')


def non_negative(**named: float) -> None:
  """Each value is a finite number, zero or above."""
  _numbers(named)
  for name, value in named.items():
    if not (math.isfinite(value) and value >= 0):
      raise ValueError(f'{name} must be zero or more, found {value!r}.')


def noise(**named: float) -> None:
  """Each value is a noise multiplier: 0, or one that accountants and the noise have room for."""
  non_negative(**named)
  at_most(MOST_NOISE, **named)
  for name, value in named.items():
    if 0 < value < _LEAST_NOISE:
      raise ValueError(f'{name} must be at least {_LEAST_NOISE:g}, found {value!r}: less noise hides nothing.')


def open_unit(**named: float) -> None:
  """Each value lies strictly between 0 and 1."""
  _numbers(named)
  for name, value in named.items():
    if not 0 < value < 1:
      raise ValueError(f'{name} must lie strictly between 0 and 1, found {value!r}.')


def fraction(**named: float) -> None:
  """Each value is zero or more and below 1."""
  _numbers(named)
  for name, value in named.items():
    if not 0 <= value < 1:
      raise ValueError(f'{name} must be zero or more and below 1, found {value!r}.')


def whole(**named: Any) -> None:
  """Each value is an integer."""
  for name, value in named.items():
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
      raise ValueError(f'{name} must be a whole number, found {value!r}.')


def _numbers(named):
  for name, value in named.items():
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
      raise ValueError(f'{name} must be a number, found {value!r}.')


def address(**named: str | None) -> None:
  """Each value that is given is host:port: a name or an IP address, IPv6 in brackets, and a port from 1 to 65535."""
  for name, value in named.items():
    found = None if value is None else _ADDRESS.fullmatch(value)
    if value is not None and not (found and 0 < int(found[1]) < 65536):
      raise ValueError(f'{name} must be host:port, found {value!r}.')


def one_of(choices: Collection[str], **named: str) -> None:
  """Each value is one of `choices`."""
  for name, value in named.items():
    if value not in choices:
      raise ValueError(f'{name} must be one of {", ".join(sorted(choices))}; '
                       f'found {value!r}.{_nearest(value, choices)}')


def one_of_or_own(choices: Collection[str], **named: Any) -> None:
  """Each value is one of `choices`, a reference or an object; nothing is imported."""
  for name, value in named.items():
    if value is None or isinstance(value, str) and not plugins.is_own(value, choices) and value not in choices:
      raise ValueError(f'{name} must be one of {", ".join(sorted(choices))}, or package.module:attribute of your own; '
                       f'found {value!r}.{_nearest(value, choices)}')


def own(**named: Any) -> None:
  """Each value is a reference or an object; nothing is imported."""
  for name, value in named.items():
    if not plugins.is_own(value, ()):
      raise ValueError(f'{name} must be package.module:attribute of your own, found {value!r}.')


def _nearest(value, choices):
  """Returns a question that suggests the choice nearest to a misspelt value, or nothing."""
  near = difflib.get_close_matches(str(value).casefold(), sorted(choices), 1)
  return f' Did you mean {near[0]!r}?' if near else ''


def writable_file(**named: str) -> None:
  """Each value is a path at which a file can be written, now or after its folders have been created."""
  for name, value in named.items():
    if not value:
      raise ValueError(f'{name} is empty: name a file, or leave it out.')
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
