"""Checks platform, interpreter and lock quickly, with the standard library only."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Iterable

from tff_vision.diagnosis import lock, machine
from tff_vision.diagnosis.finding import Finding, Status

_CORNERSTONES = ('absl', 'numpy', 'psutil', 'tensorflow', 'tensorflow_federated')


def lock_finding(root: pathlib.Path, folders: Iterable[str] | None = None) -> Finding:
  """Compares the lock of the checkout `root` with the packages in `folders`; None: on the import path."""
  try:
    return lock.judge(root, lock.installed(folders))
  except ValueError as error:
    return Finding(name='lock', status=Status.FAIL, message=str(error), mend=f'restore {lock.LOCK} from the repository')


def environment_findings(root: pathlib.Path, folders: Iterable[str] | None = None) -> list[Finding]:
  """Returns the findings on platform, interpreter and lock, in the order in which to fix them."""
  return [machine.platform_finding(), machine.interpreter_finding(), lock_finding(root, folders)]


def looks_bare() -> bool:
  """Returns whether a package is missing that every pipeline needs to parse its flags; takes a millisecond."""
  return any(importlib.util.find_spec(name) is None for name in _CORNERSTONES)


def refusal(findings: Iterable[Finding], *, what: str, then: str) -> str:
  """Returns the message for a user whose environment cannot run the project, with the commands that fix it.

  Args:
    findings: From `environment_findings`.
    what: What is refused; it begins the message.
    then: The command to type after the lock is installed.
  """
  unfit = [finding for finding in findings if finding.status is Status.FAIL]
  lines = ['', f'{what}:', *(finding.line() for finding in unfit)]
  if all(finding.name == 'lock' for finding in unfit):  # With other failures, these commands would fail.
    lines += ['', 'No resolver can find these packages by itself. Type, in the checkout:', '',
              f'    {lock.INSTALL_LOCK}', f'    {then}']
  return '\n'.join([*lines, ''])
