"""The journal of begun and finished rounds; it is on disk before anything of a round leaves a client.

A round that is killed and run again may have released its clients' noised updates already; where clients draw their
noise anew that is a second release. A checkpoint cannot know of it, so the beginnings are written down on their own.
"""

import collections
import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import secret_files
from tff_vision.privacy import plan as plan_lib


class Journal:
  """A file of one JSON object a line, only ever appended to; each line is on disk when its method returns.

  It holds exact sizes of cohorts: it is its owner's alone. What it adds to the cost of a finished run stands in that
  run's report.
  Several threads may write.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._begins: collections.Counter[int] = collections.Counter()
    self._delivered: dict[int, int] = {}
    self._again: list[int] = []
    self._kept = 0
    self._repeated: list[tuple[int, tuple[int, ...]]] = []
    self._counts: tuple[int, ...] = ()
    self._lock = threading.Lock()
    self.budget_file: str | None = None  # The budget over several runs to which this one is charged.
    lines = path.read_text().split('\n') if path.exists() else []
    for line in lines:
      self._take(_parsed(line))
    # A line that was torn off by a crash is ended, so that the next one stands alone.
    self._before = '\n' if lines and lines[-1] else ''

  def resume(self, rounds: int) -> bool:
    """Writes that the run goes on after round `rounds`, what its checkpoint holds.

    Returns:
      Whether rounds after that one have been finished, and their outputs seen, already.
    """
    if rounds:
      self._write({'resume': rounds})
    return max(self._kept, *self._delivered, 0) > rounds

  def begin(self, round_num: int) -> None:
    """Writes that the round is about to be computed."""
    self._write({'begin': round_num})

  def end(self, round_num: int, clients: int) -> None:
    """Writes that the round is in a checkpoint, with the updates of so many clients."""
    self._write({'end': round_num, 'clients': clients})

  def repeat(self, round_num: int, clients: Sequence[int]) -> None:
    """Writes that `clients` may be about to compute something of the round once more, with other noise."""
    self._write({'again': round_num, 'clients': [int(client) for client in clients]})

  def note_counts(self, counts: Sequence[int]) -> None:
    """Writes the clients' numbers of examples, if the run has just begun and there are any."""
    if not self._counts and counts:
      self._write({'example_counts': [int(count) for count in counts]})

  def check_counts(self, counts: Sequence[int]) -> None:
    """Compares the clients' numbers of examples with those that the run began with, if it has.

    Raises:
      ValueError: A client's is another.
    """
    if not self._counts:
      return
    if len(self._counts) != len(counts):
      raise ValueError(f'resume is refused: there are {len(counts)} clients and were {len(self._counts)} when the run '
                       'began. Start a new run.')
    for client, (before, now) in enumerate(zip(self._counts, counts, strict=True)):
      if before != now:
        raise ValueError(f'resume is refused: client {client} has {now} examples and had {before} when the run began, '
                         'and what its rounds have cost depends on that number. Start a new run.')

  @property
  def example_counts(self) -> tuple[int, ...]:
    """What `note_counts` has written; empty before."""
    return self._counts

  def charge_to(self, budget_file: str) -> None:
    """Writes to which budget the run is charged, unless that is known."""
    if self.budget_file != budget_file:
      self._write({'budget_file': budget_file})

  def past(self) -> plan_lib.Past:
    """Returns what the rounds so far cost beyond the plan.

    Rounds that were begun and not ended will be repeated; those that were begun after their end, because a checkpoint
    was lost, have been.
    """
    return self._past(self._begins, self._again, self._delivered)

  def after(self, round_num: int, clients: int) -> plan_lib.Past:
    """Returns `past` as it is once the round that was begun last is ended; writes nothing."""
    return self._past(self._begins, self._again, {**self._delivered, round_num: clients})

  def once_more(self, round_num: int) -> plan_lib.Past | None:
    """Returns `past` as it would be if the round were begun; None if that repeats no output."""
    if not self._ended(round_num):
      return None
    return self._past(self._begins + collections.Counter([round_num]), [*self._again, round_num], self._delivered)

  def _past(self, begins, again, delivered):
    # One beginning of a finished round is the one that counts.
    replayed = [number for number, count in begins.items() for _ in range(count - (number in delivered))]
    return plan_lib.Past(replayed=tuple(replayed), again=tuple(self._repeated), repeated=tuple(again),
                         delivered=dict(delivered))

  def _ended(self, round_num):
    # A process that was killed after it had saved a checkpoint wrote no end; the next one has shown what was in it.
    return round_num in self._delivered or round_num <= self._kept

  def _take(self, entry: Mapping[str, Any]) -> None:
    if 'budget_file' in entry:
      self.budget_file = entry['budget_file']
    elif 'again' in entry:
      self._repeated.append((entry['again'], tuple(entry['clients'])))
    elif 'example_counts' in entry:
      self._counts = tuple(entry['example_counts'])
    elif 'begin' in entry:
      if self._ended(entry['begin']):
        self._again.append(entry['begin'])
      self._begins[entry['begin']] += 1
    elif 'end' in entry and self._begins[entry['end']]:
      self._delivered[entry['end']] = entry['clients']
    elif 'resume' in entry:
      self._kept = max(self._kept, entry['resume'])

  def _write(self, entry):
    with self._lock:
      self._take(entry)
      with secret_files.opened(self._path, 'a') as file:
        file.write(self._before + json.dumps(entry) + '\n')
        file.flush()
        os.fsync(file.fileno())
      self._before = ''


def _parsed(line):
  try:
    return json.loads(line)
  except ValueError:
    return {}
