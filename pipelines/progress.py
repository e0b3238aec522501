"""Shows the progress of a run: a tqdm line, or plain lines without a terminal.

Lines are kept in logs. Where a record tells no seconds, because these would tell who took part, lines tell none either.
"""

import math
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

import tqdm


class Progress:
  """Shows each round when it ends."""

  def __init__(self, *, rounds: int):
    """Shows a run of `rounds` rounds; `metrics`, the names in order, may be set once the measured metrics are known."""
    self.metrics: Sequence[str] = ()
    self._rounds = rounds
    self._bar = None
    self._shown = {}
    self._started = time.monotonic()
    self._first = None
    self._warned = False

  def __call__(self, record: Mapping[str, Any]) -> None:
    """Takes one round's record."""
    number = record['round']
    if not self._warned and not math.isfinite(record.get('train', {}).get('loss', 0.0)):
      self._warned = True
      print(f'warning: round {number}: the training loss is not a finite number: clients diverge, and their updates '
            'count as zero.', file=sys.stderr, flush=True)
    self._shown |= _words(record, self.metrics)
    if 'seconds' in record:
      self._shown['s/round'] = f'{record["seconds"]:.2f}'
    if self._first is None:
      self._first = number - 1
    if not sys.stderr.isatty():
      if 'evaluation' in record:
        done = number - self._first
        left = (time.monotonic() - self._started) / done * (self._rounds - number)
        words = [f'{name} {value}' for name, value in self._shown.items()]
        words += [f'left {left:.0f} s'] if 'seconds' in record else []
        print('  '.join((f'round {number}/{self._rounds}', *words)), file=sys.stderr, flush=True)
      return
    if self._bar is None:
      self._bar = tqdm.tqdm(total=self._rounds, initial=self._first, unit='round', dynamic_ncols=True)
    self._bar.set_postfix(self._shown, refresh=False)
    self._bar.update()

  def close(self) -> None:
    if self._bar is not None:
      self._bar.close()


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
    words['epsilon'] = f'{record["privacy"]["epsilon"]:.3f}'
  elif 'epsilon_rdp' in record.get('privacy', {}):
    words['epsilon'] = f'{record["privacy"]["epsilon_rdp"]:.3f} (RDP)'
  return words
