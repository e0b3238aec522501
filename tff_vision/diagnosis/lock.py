"""Compares the lock, `requirements.txt`, with what is installed.

`setup.py` and the doctor use it, also on Python 3.9 and when nothing is installed: standard library only.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
import sys
from collections.abc import Iterable, Mapping

from tff_vision.diagnosis.finding import Finding, Status

LOCK = 'requirements.txt'
DEMANDS = ('requirements.in', 'requirements.overrides.txt')
INSTALL_LOCK = f'pip install --no-deps -r {LOCK}'
INSTALL_PROJECT = 'pip install --no-deps --no-build-isolation .'

_EXACT_PIN = re.compile(r'^([A-Za-z0-9][A-Za-z0-9._-]*)==([^\s;#]+)')
_SHOWN = 6


def canonical(name: str) -> str:
  """Returns a distribution's name in the form that packaging tools compare (PEP 503)."""
  return re.sub(r'[-_.]+', '-', name).lower()


def exact_pins(text: str) -> dict[str, str]:
  """Canonical name -> version of each `name==version` line of a requirements file; other lines are skipped."""
  found = (_EXACT_PIN.match(line) for line in text.splitlines())
  return {canonical(pin[1]): pin[2] for pin in found if pin}


def installed(folders: Iterable[str] | None = None) -> dict[str, str]:
  """Canonical name -> version of each installed distribution, in `folders`; None: on the import path."""
  import importlib.metadata  # Imported late: every start of a script checks little, and this takes most of that time.
  versions: dict[str, str] = {}
  for distribution in importlib.metadata.distributions(path=list(sys.path if folders is None else folders)):
    name = distribution.metadata['Name']
    if name:  # An incompletely removed package leaves a folder without a name.
      versions.setdefault(canonical(name), distribution.version)
  return versions


@dataclasses.dataclass(frozen=True)
class Mismatch:
  """How an environment differs from the lock.

  Attributes:
    missing: Locked packages that are not installed, as `name==version`.
    broken: Packages with another version than the project itself requires, as `name==locked (has ...)`.
    drifted: Other packages with another version than the lock, in the same form.
  """
  missing: tuple[str, ...]
  broken: tuple[str, ...]
  drifted: tuple[str, ...]


def compare(locked: Mapping[str, str], demanded: Iterable[str], present: Mapping[str, str]) -> Mismatch:
  """Compares the lock with the installed packages.

  Args:
    locked: Canonical name -> version, of all packages in the lock.
    demanded: The packages whose version the project chose by hand; another version of these is a failure.
    present: Canonical name -> version, of all installed packages.
  """
  demanded = frozenset(demanded)
  other = {name: f'{name}=={version} (has {present[name]})' for name, version in locked.items()
           if name in present and present[name] != version}
  return Mismatch(
      missing=tuple(f'{name}=={version}' for name, version in locked.items() if name not in present),
      broken=tuple(told for name, told in other.items() if name in demanded),
      drifted=tuple(told for name, told in other.items() if name not in demanded))


def _told(names: tuple[str, ...]) -> str:
  rest = len(names) - _SHOWN
  return ', '.join(names[:_SHOWN]) + (f' and {rest} more' if rest > 0 else '')


def describe(mismatch: Mismatch) -> str:
  """Returns one line that names the packages that are missing or have another version; empty if there are none."""
  parts = [(mismatch.missing, 'not installed'), (mismatch.broken, 'wrong version'),
           (mismatch.drifted, 'not the tested version')]
  return '; '.join(f'{label}: {_told(names)}' for names, label in parts if names)


def judge(root: pathlib.Path, present: Mapping[str, str]) -> Finding:
  """Returns the finding for the lock of the checkout `root`, compared with the installed packages.

  Raises:
    ValueError: The lock is missing or holds no pin.
  """
  path = root / LOCK
  locked = exact_pins(path.read_text()) if path.is_file() else {}
  if not locked:
    raise ValueError(f'{path} holds no name==version line: the lock is missing.')
  demands = [root / name for name in DEMANDS]
  demanded = [name for file in demands if file.is_file() for name in exact_pins(file.read_text())]
  mismatch = compare(locked, demanded, present)
  told = describe(mismatch)
  if not told:
    return Finding(name='lock', status=Status.OK, message=f'all {len(locked)} packages are there as locked')
  status = Status.FAIL if mismatch.missing or mismatch.broken else Status.WARN
  return Finding(name='lock', status=status, message=told, mend=INSTALL_LOCK)
