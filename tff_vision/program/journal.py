"""The journal of begun and finished rounds; it is on disk before anything of a round leaves a client.

A round may be killed and run again after its clients' noised updates were already released. If the clients draw new
noise, this is a second release. A checkpoint cannot record it, so the journal records the beginning of each round.
"""

import collections
import json
import os
import pathlib
import secrets
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision import secret_files
from tff_vision.privacy import plan as plan_lib


class Journal:
  """An append-only file with one JSON object per line; each line is on disk when the method that writes it returns.

  The file holds exact cohort sizes, so only its owner may read it. The report of a finished run states what the
  journal adds to the run's privacy cost. Several threads may write.
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
    self.budget_file: str | None = None  # The budget of several runs to which this run is charged.
    self._sessions = ['first']  # The processes that were charged to it, as in `budget_file.Session`.
    lines = path.read_text().split('\n') if path.exists() else []
    for line in lines:
      self._take(_parsed(line))
    # If a crash left an incomplete last line, a newline ends it, so that the next entry has its own line.
    self._before = '\n' if lines and lines[-1] else ''

  def resume(self, rounds: int) -> bool:
    """Writes that the run continues after round `rounds`, the last round in its checkpoint.

    Returns:
      Whether later rounds were already finished, so that their outputs were seen.
    """
    if rounds:
      self._write({'resume': rounds})
    return max(self._kept, *self._delivered, 0) > rounds

  def begin(self, round_num: int) -> None:
    """Writes that the computation of the round is about to begin."""
    self._write({'begin': round_num})

  def end(self, round_num: int, clients: int) -> None:
    """Writes that the round is in a checkpoint, with the updates of `clients` clients."""
    self._write({'end': round_num, 'clients': clients})

  def repeat(self, round_num: int, clients: Sequence[int]) -> None:
    """Writes that `clients` may be about to repeat a computation of the round with other noise."""
    self._write({'again': round_num, 'clients': [int(client) for client in clients]})

  def note_counts(self, counts: Sequence[int]) -> None:
    """Writes each client's number of examples, unless they are already in the journal or `counts` is empty."""
    if not self._counts and counts:
      self._write({'example_counts': [int(count) for count in counts]})

  def check_counts(self, counts: Sequence[int]) -> None:
    """Compares each client's number of examples with the number at the beginning of the run, if that is recorded.

    Raises:
      ValueError: The number of clients or of a client's examples has changed.
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
    """The numbers that `note_counts` has written; empty before."""
    return self._counts

  def charge_to(self, budget_file: str) -> None:
    """Writes to which budget the run is charged, unless the journal already says so."""
    if self.budget_file != budget_file:
      self._write({'budget_file': budget_file})

  def new_session(self) -> Sequence[str]:
    """Writes that another process goes on with a run that is charged to a budget; returns the names of all so far.

    The first has no random name, because a run that the budget refuses leaves no journal.
    """
    if self._path.exists():
      self._write({'session': secrets.token_hex(8)})
    return tuple(self._sessions)

  def past(self) -> plan_lib.Past:
    """Returns what determines the cost of the rounds so far beyond the plan.

    Rounds that were begun and not ended will be repeated. Rounds that were begun after their end, because a checkpoint
    was lost, have been repeated.
    """
    return self._past(self._begins, self._again, self._delivered)

  def after(self, round_num: int, clients: int) -> plan_lib.Past:
    """Returns `past` as it will be after the end of the round that was begun last; writes nothing."""
    return self._past(self._begins, self._again, {**self._delivered, round_num: clients})

  def once_more(self, round_num: int) -> plan_lib.Past | None:
    """Returns `past` as it would be if the round were begun; None if this repeats no output."""
    if not self._ended(round_num):
      return None
    return self._past(self._begins + collections.Counter([round_num]), [*self._again, round_num], self._delivered)

  def _past(self, begins, again, delivered):
    # For a finished round, one of its beginnings is not a repetition.
    replayed = [number for number, count in begins.items() for _ in range(count - (number in delivered))]
    return plan_lib.Past(replayed=tuple(replayed), again=tuple(self._repeated), repeated=tuple(again),
                         delivered=dict(delivered))

  def _ended(self, round_num):
    # A process that was killed after it saved a checkpoint wrote no end; `resume` wrote what the checkpoint holds.
    return round_num in self._delivered or round_num <= self._kept

  def _take(self, entry: Mapping[str, Any]) -> None:
    if 'budget_file' in entry:
      self.budget_file = entry['budget_file']
    elif 'session' in entry:
      self._sessions.append(entry['session'])
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
