"""Shows the progress of a run: a tqdm line, or plain lines without a terminal.

Lines are kept in logs. Where a record tells no seconds, because these would tell who took part, lines tell none either.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tqdm

from tff_vision import wording


class Progress:
  """Shows each round when it ends."""

  def __init__(self, *, rounds: int, title: str = ''):
    """Shows a run of `rounds` rounds.

    `metrics`, the names in order, may be set once the measured metrics are known.

    Args:
      title: What is trained, such as the name of the algorithm.
    """
    self.metrics: Sequence[str] = ()
    self._rounds = rounds
    self._title = title
    self._bar = None
    self._shown = {}
    self._left = TimeLeft(rounds)
    self._warned = self._skipped = False

  def __call__(self, record: Mapping[str, Any]) -> None:
    """Takes one round's record."""
    number = record['round']
    if not self._warned and not math.isfinite(record.get('train', {}).get('loss', 0.0)):
      self._warned = True
      print(f'warning: round {number}: the training loss is not a finite number: clients diverge, and their updates '
            'count as zero.', file=sys.stderr, flush=True)
    if not self._skipped and (skipped := record.get('train', {}).get('skipped_steps')):
      self._skipped = True
      print(f'note: round {number}: clients skipped {skipped:.0f} step(s) whose scaled gradients were not finite '
            '(--loss_scale).', file=sys.stderr, flush=True)
    self._shown |= _words(record, self.metrics)
    self._left.measure(number)
    shown = dict(self._shown)
    if 'seconds' in record:
      shown['s/round'] = f'{record["seconds"]:.2f}'
      if left := self._left.words():
        shown['left'] = left
    if not sys.stderr.isatty():
      if 'evaluation' in record:
        words = [self._title] if self._title else []
        words += [f'{name} {value}' for name, value in shown.items()]
        print('  '.join((f'round {number}/{self._rounds}', *words)), file=sys.stderr, flush=True)
      return
    if self._bar is None:
      self._bar = tqdm.tqdm(total=self._rounds, initial=number - 1, desc=self._title or None, dynamic_ncols=True,
                            bar_format='{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]')
    self._bar.set_postfix_str('  '.join(f'{name} {value}' for name, value in shown.items()), refresh=False)
    self._bar.update()

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()


class TimeLeft:
  """Estimates the time that is left, from work that was measured in this process.

  The first measurement only starts the clock: before it lie set-up, and a first round that also compiles.
  """

  def __init__(self, total: float):
    self._total = total
    self._first: tuple[float, float] | None = None
    self._last = (0.0, 0.0)

  def measure(self, done: float) -> None:
    """Takes how much of the total is done by now."""
    self._last = time.monotonic(), done
    if self._first is None:
      self._first = self._last

  def words(self) -> str:
    """Returns the time left in words; empty before two measurements."""
    if self._first is None or self._last[1] <= self._first[1]:
      return ''
    pace = (self._last[0] - self._first[0]) / (self._last[1] - self._first[1])
    seconds = round(pace * (self._total - self._last[1]))
    if seconds < 120:
      return f'{seconds} s'
    return f'{seconds // 60} min' if seconds < 7200 else f'{seconds / 3600:.1f} h'


def client_title(per_client: Mapping[str, Any]) -> str:
  """Returns the title of the clients' numbers, as a run's summary prints it."""
  metric = per_client.get('metric', 'accuracy')
  return 'per client' if metric == 'accuracy' else f'{metric} per client'


def numbers(evaluation: Mapping[str, Any]) -> str:
  """Returns the numbers of an evaluation in one line."""
  return '  '.join(f'{name} {value:.4f}' for name, value in evaluation.items() if isinstance(value, float))


class Downloads:
  """Shows downloads and decompressions: one bar for each; without a terminal, one line at the end of each."""

  def __init__(self):
    self._bars = {}

  def __call__(self, name: str, done: int, total: int | None) -> None:
    """Takes the number of bytes so far, and the total number if known, of the file called `name`."""
    if sys.stderr.isatty():
      if name not in self._bars:
        self._bars[name] = tqdm.tqdm(total=total, desc=name, unit='B', unit_scale=True)
      bar = self._bars[name]
      bar.update(done - bar.n)
      if done == total:
        bar.close()
    elif done == total:
      print(f'{name}: {done:,} bytes', file=sys.stderr, flush=True)


def _words(record, metrics):
  words = {}
  evaluation = record.get('evaluation') or record.get('validation', {})
  for name in metrics:
    if isinstance(evaluation.get(name), float):
      words[name] = f'{evaluation[name]:.4f}'
  if 'epsilon' in record.get('privacy', {}):
    words['epsilon'] = wording.at_most(record['privacy']['epsilon'])
  elif 'epsilon_rdp' in record.get('privacy', {}):
    words['epsilon'] = f'{wording.at_most(record["privacy"]["epsilon_rdp"])} (RDP)'
  return words
