"""Which rounds were begun and which were finished, on disk before anything of a round can leave a client.

A round that is killed and run again may have released its clients' noised updates already; where clients draw their
noise anew that is a second release. A checkpoint cannot know of it, so the beginnings are written down on their own.
"""

import json
import os
import pathlib
from collections.abc import Mapping

from tff_vision.privacy import plan as plan_lib


class Journal:
  """A file of one JSON object a line, only ever appended to; each line is on disk when its method returns."""

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._begun: list[int] = []
    self._delivered: dict[int, int] = {}
    self._again: list[int] = []
    self.budget_file: str | None = None  # The budget over several runs to which this one is charged.
    lines = path.read_text().split('\n') if path.exists() else []
    for line in lines:
      self._take(_parsed(line))
    # A line that was torn off by a crash is ended, so that the next one stands alone.
    self._before = '\n' if lines and lines[-1] else ''

  def begin(self, round_num: int) -> None:
    """Writes that the round is about to be computed."""
    self._write({'begin': round_num})

  def end(self, round_num: int, clients: int) -> None:
    """Writes that the round is in a checkpoint, with the updates of so many clients."""
    self._write({'end': round_num, 'clients': clients})

  def charge_to(self, budget_file: str) -> None:
    """Writes to which budget the run is charged, unless that is known."""
    if self.budget_file != budget_file:
      self._write({'budget_file': budget_file})

  def past(self) -> plan_lib.Past:
    """Returns what the rounds so far cost beyond the plan.

    Rounds that were begun and not ended will be repeated; those that were begun after their end, because a checkpoint
    was lost, have been.
    """
    return plan_lib.Past(replayed=(*self._begun, *self._again), delivered=dict(self._delivered))

  def after(self, round_num: int, clients: int) -> plan_lib.Past:
    """Returns `past` as it is once the round that was begun last is ended; writes nothing."""
    begun = list(self._begun)
    begun.remove(round_num)
    return plan_lib.Past(replayed=(*begun, *self._again), delivered={**self._delivered, round_num: clients})

  def _take(self, entry: Mapping[str, int]) -> None:
    if 'budget_file' in entry:
      self.budget_file = entry['budget_file']
    elif 'begin' in entry:
      if entry['begin'] in self._delivered:
        self._again.append(entry['begin'])
      self._begun.append(entry['begin'])
    elif 'end' in entry and entry['end'] in self._begun:
      self._begun.remove(entry['end'])
      self._delivered[entry['end']] = entry['clients']

  def _write(self, entry):
    self._take(entry)
    with self._path.open('a') as file:
      file.write(self._before + json.dumps(entry) + '\n')
      file.flush()
      os.fsync(file.fileno())
    self._before = ''


def _parsed(line):
  try:
    return json.loads(line)
  except ValueError:
    return {}
