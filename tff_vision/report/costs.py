"""What a run cost, in report.html: time by part, memory, and bytes."""

import dataclasses
from collections.abc import Mapping, Sequence

from tff_vision.program import released
from tff_vision.report import number_format as numbers
from tff_vision.report import tables

_PARTS = {'setup': 'set-up', 'train': 'training', 'evaluate': 'evaluation', 'export': 'export and comparison',
          'other': 'saving, reporting and the rest'}
_LOOKS = ('c11', 'c0', 'c1', 'c2', 'c4')
_TRAFFIC = {
    'bytes_down_per_client_and_round': 'sent to a client in a round',
    'bytes_up_per_client_and_round': 'sent by a client in a round',
    'bytes_down_total': 'sent to clients in the whole run', 'bytes_up_total': 'sent by clients in the whole run'}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
  """A part of the time: its share of the sum of all parts, and the class of its colour."""
  name: str
  seconds: float
  share: float
  look: str


def parts(report: Mapping) -> Sequence[Part]:
  """Returns the parts of a run's time, which add up to the total; of an older report, the rest is `other`."""
  seconds = {name: value for name, value in tables.part(report, 'seconds').items() if numbers.is_finite(value)}
  total = seconds.pop('total', None)
  rest = (total or 0.0) - sum(seconds.values())
  if rest > 0 and 'other' not in seconds and not rounded(report):
    seconds['other'] = rest
  whole = sum(seconds.values()) or 1.0
  return [Part(name=_PARTS.get(name, numbers.label(name)), seconds=value, share=value / whole,
               look=_LOOKS[place % len(_LOOKS)]) for place, (name, value) in enumerate(seconds.items())]


def rounded(report: Mapping) -> bool:
  """Returns whether times are rounded up, as they are under a promise, so that they do not add up."""
  held = [value for value in tables.part(report, 'seconds').values() if numbers.is_finite(value)]
  return bool(held) and all(released.coarse(value) == value for value in held)


def time(report: Mapping) -> tables.Table | None:
  """Returns the time of each part of the run, with the sum as the last row."""
  coarse, found = rounded(report), parts(report)
  if not found:
    return None
  text = lambda value: numbers.data(value, numbers.duration(value))
  rows = [[one.name, text(one.seconds), *([] if coarse else [f'{100 * one.share:.0f} %'])] for one in found]
  whole = tables.part(report, 'seconds').get('total') if coarse else sum(one.seconds for one in found)
  rows.append(['total', text(whole) if numbers.is_finite(whole) else numbers.MISSING, *([] if coarse else ['100 %'])])
  return tables.Table(caption='Time, each rounded up' if coarse else 'Time', header=['', 'time', *(
      [] if coarse else ['share'])], rows=rows, best=[len(rows) - 1])


def resources(report: Mapping) -> tables.Table | None:
  """Returns the time of a round, the speed, the memory, and the bytes that were sent."""
  seconds, rounds, rows = tables.part(report, 'seconds'), report.get('rounds'), []
  if numbers.is_finite(seconds.get('train')) and numbers.is_finite(rounds) and rounds > 0:
    a_round = seconds['train'] / rounds
    rows.append(['training, a round', numbers.data(a_round, numbers.duration(a_round))])
  if numbers.is_finite(speed := report.get('examples_per_second')):
    rows.append(['training examples per second', numbers.data(speed)])
  if numbers.is_finite(peak := report.get('peak_rss_mb')):
    rows.append(['peak memory', numbers.data(peak, f'{numbers.plain(float(peak))} MB')])
  traffic = tables.part(report, 'traffic')
  rows += [[words, numbers.data(traffic[name], numbers.size(traffic[name]))]
           for name, words in _TRAFFIC.items() if numbers.is_finite(traffic.get(name))]
  return tables.Table(caption='Speed, memory and traffic', header=['', 'measured'], rows=rows) if rows else None
