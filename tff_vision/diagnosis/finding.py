"""The result of one check. It runs on Python 3.9 and later, so that it can reject an unfit interpreter."""

from __future__ import annotations

import dataclasses
import enum


class Status(enum.Enum):
  """The status of a check.

  OK: as it should be. INFO: absent, but only some runs need it. WARN: a run works, but perhaps worse than it could.
  FAIL: a run would fail.
  """
  OK = 'ok'
  INFO = 'info'
  WARN = 'warn'
  FAIL = 'FAIL'


@dataclasses.dataclass(frozen=True)
class Finding:
  """The result of one check.

  Attributes:
    name: What was checked, a word or two.
    message: What was found, on one line.
    mend: How to fix it, on one line; empty exactly when the status is OK.
  """
  name: str
  status: Status
  message: str
  mend: str = ''

  def __post_init__(self):
    assert bool(self.mend) == (self.status is not Status.OK), self

  def line(self) -> str:
    """Returns the finding on one line; the fix follows the problem."""
    told = f'{self.status.value:4}  {self.name:15} {self.message}'
    return f'{told}  ->  {self.mend}' if self.mend else told
