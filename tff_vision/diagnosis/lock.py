"""Compares the lock, `requirements.txt`, with what is installed.

Read by `setup.py` and by the doctor, also where nothing is installed and on Python 3.9: standard library only.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
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
  """A distribution's name as packaging tools compare it (PEP 503)."""
  return re.sub(r'[-_.]+', '-', name).lower()


def exact_pins(text: str) -> dict[str, str]:
  """Canonical name -> version of each `name==version` line of a requirements file; other lines are skipped."""
  found = (_EXACT_PIN.match(line) for line in text.splitlines())
  return {canonical(pin[1]): pin[2] for pin in found if pin}


def installed(folders: Iterable[str] | None = None) -> dict[str, str]:
  """Canonical name -> version of each installed distribution, in `folders` or else where imports look."""
  versions: dict[str, str] = {}
  for distribution in importlib.metadata.distributions(path=list(sys.path if folders is None else folders)):
    name = distribution.metadata['Name']
    if name:  # Half-removed packages leave a nameless folder behind.
      versions.setdefault(canonical(name), distribution.version)
  return versions


@dataclasses.dataclass(frozen=True)
class Mismatch:
  """How an environment differs from the lock.

  Attributes:
    missing: Locked packages that are not there, as `name==version`.
    broken: Packages of another version although the project itself names the version, as `name==locked (has ...)`.
    drifted: Other packages of another version, likewise.
  """
  missing: tuple[str, ...]
  broken: tuple[str, ...]
  drifted: tuple[str, ...]


def compare(locked: Mapping[str, str], demanded: Iterable[str], present: Mapping[str, str]) -> Mismatch:
  """Compares the lock with the present packages.

  Args:
    locked: Canonical name -> version, all that the lock holds.
    demanded: The names whose version the project chose by hand; another version of these is fatal.
    present: Canonical name -> version, all that is installed.
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
  """One line that names what is missing or of another version; empty if nothing is."""
  parts = [(mismatch.missing, 'not installed'), (mismatch.broken, 'wrong version'),
           (mismatch.drifted, 'not the tested version')]
  return '; '.join(f'{label}: {_told(names)}' for names, label in parts if names)


def judge(root: pathlib.Path, present: Mapping[str, str]) -> Finding:
  """The finding on the lock of the checkout `root` against the present packages.

  Raises:
    ValueError: The lock is not there or holds no pin.
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
