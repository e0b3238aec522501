"""Which rounds were begun and which were finished, on disk before anything of a round can leave a client.

A round that is killed and run again may have released its clients' noised updates already; where clients draw their
noise anew that is a second release. A checkpoint cannot know of it, so the beginnings are written down on their own.
"""

import json
import os
import pathlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.privacy import plan as plan_lib


class Journal:
  """A file of one JSON object a line, only ever appended to; each line is on disk when its method returns.

  Several threads may write.
  """

  def __init__(self, path: pathlib.Path):
    self._path = path
    self._begun: list[int] = []
    self._delivered: dict[int, int] = {}
    self._again: list[int] = []
    self._repeated: list[tuple[int, tuple[int, ...]]] = []
    self._counts: tuple[int, ...] = ()
    self._lock = threading.Lock()
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

  def past(self) -> plan_lib.Past:
    """Returns what the rounds so far cost beyond the plan.

    Rounds that were begun and not ended will be repeated; those that were begun after their end, because a checkpoint
    was lost, have been.
    """
    return plan_lib.Past(replayed=(*self._begun, *self._again), again=tuple(self._repeated),
                         delivered=dict(self._delivered))

  def after(self, round_num: int, clients: int) -> plan_lib.Past:
    """Returns `past` as it is once the round that was begun last is ended; writes nothing."""
    begun = list(self._begun)
    begun.remove(round_num)
    return plan_lib.Past(replayed=(*begun, *self._again), again=tuple(self._repeated),
                         delivered={**self._delivered, round_num: clients})

  def _take(self, entry: Mapping[str, Any]) -> None:
    if 'again' in entry:
      self._repeated.append((entry['again'], tuple(entry['clients'])))
    elif 'example_counts' in entry:
      self._counts = tuple(entry['example_counts'])
    elif 'begin' in entry:
      if entry['begin'] in self._delivered:
        self._again.append(entry['begin'])
      self._begun.append(entry['begin'])
    elif 'end' in entry and entry['end'] in self._begun:
      self._begun.remove(entry['end'])
      self._delivered[entry['end']] = entry['clients']

  def _write(self, entry):
    with self._lock:
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
