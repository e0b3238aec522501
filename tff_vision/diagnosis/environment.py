"""Checks platform, interpreter and lock quickly, with the standard library only."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Iterable

from tff_vision.diagnosis import lock, machine
from tff_vision.diagnosis.finding import Finding, Status

_CORNERSTONES = ('absl', 'numpy', 'psutil', 'tensorflow', 'tensorflow_federated')


def lock_finding(root: pathlib.Path, folders: Iterable[str] | None = None) -> Finding:
  """The lock of the checkout `root` against the packages in `folders`, or else where imports look."""
  try:
    return lock.judge(root, lock.installed(folders))
  except ValueError as error:
    return Finding(name='lock', status=Status.FAIL, message=str(error), mend=f'restore {lock.LOCK} from the repository')


def environment_findings(root: pathlib.Path, folders: Iterable[str] | None = None) -> list[Finding]:
  """Platform, interpreter and lock, in the order in which they are mended."""
  return [machine.platform_finding(), machine.interpreter_finding(), lock_finding(root, folders)]


def looks_bare() -> bool:
  """Whether a package is missing without which no pipeline gets as far as its own flags; costs a millisecond."""
  return any(importlib.util.find_spec(name) is None for name in _CORNERSTONES)


def refusal(findings: Iterable[Finding], *, what: str, then: str) -> str:
  """What to tell someone whose environment is unfit, with the commands that mend it.

  Args:
    findings: Of `environment_findings`.
    what: What is refused, the beginning of a sentence.
    then: The command to type after the lock is installed.
  """
  unfit = [finding for finding in findings if finding.status is Status.FAIL]
  lines = ['', f'{what}:', *(finding.line() for finding in unfit)]
  if all(finding.name == 'lock' for finding in unfit):  # Elsewhere these commands would fail.
    lines += ['', 'No resolver can find these packages by itself. Type, in the checkout:', '',
              f'    {lock.INSTALL_LOCK}', f'    {then}']
  return '\n'.join([*lines, ''])
