"""The axes of charts: from values to places, with ticks at round numbers."""

import dataclasses
import math
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from tff_vision.report import number_format as numbers

_STEPS = (1, 2, 5, 10)
_ROUNDING = 1e-9  # Of a step: what floating point may add.
_SLIM = ' .,:;|!\'ijltf'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Axis:
  """One direction of a chart.

  Attributes:
    low: The value at the left or at the bottom.
    high: The value at the right or at the top.
    ticks: The marked values, each with its text.
    label: What the values are.
    log: Whether places follow the logarithm.
    names: Whether the ticks are names of rows or columns, which are at 0, 1, 2, ...
  """
  low: float
  high: float
  ticks: Sequence[tuple[float, str]]
  label: str = ''
  log: bool = False
  names: bool = False

  def place(self, value: float) -> float:
    """Returns where a value is: 0 at `low`, 1 at `high`; what lies outside is put on the edge."""
    low, high = self.low, self.high
    if self.log:
      low, high, value = math.log(low), math.log(high), math.log(max(value, low))
    return min(1.0, max(0.0, (value - low) / (high - low))) if high != low else 0.0


def step_of(low: float, high: float, count: int, *, integer: bool = False) -> float:
  """Returns the smallest of 1, 2, 5, 10, 20, ... (or 0.1, 0.2, ...) that cuts a range in at most `count` parts."""
  size = 10.0 ** math.floor(math.log10((high - low) / count))
  step = next(size * factor for factor in _STEPS if (high - low) <= count * size * factor * (1 + _ROUNDING))
  return max(1.0, step) if integer else step


def numeric(values: Iterable[float], *, label: str = '', text: Callable[[float], str] = numbers.plain,
            integer: bool = False, low: float | None = None, high: float | None = None, count: int = 5,
            tight: bool = False) -> Axis:
  """Returns an axis that holds all finite values and ends at round numbers.

  Args:
    values: What is drawn along the axis.
    text: From a tick's value to its text.
    integer: Whether ticks are whole numbers.
    low: The value to begin with; None: the largest round number below all values.
    high: The value to end with; None: the smallest round number above all values.
    count: The largest number of steps between ticks.
    tight: Whether the axis ends at the outermost values and not at the next round numbers.
  """
  held = [value for value in values if numbers.is_finite(value)] or [0.0, 1.0]
  least, most = min(held) if low is None else low, max(held) if high is None else high
  if most <= least:
    spare = 1.0 if integer or not least else abs(least) / 10
    least, most = (least - spare if low is None else least), most + spare
  step = step_of(least, most, count, integer=integer)
  first, last = math.floor(least / step + _ROUNDING), math.ceil(most / step - _ROUNDING)
  if not tight:
    least, most = (first * step if low is None else least), (last * step if high is None else most)
  digits = max(0, 1 - math.floor(math.log10(step)))
  marked = [round(number * step, digits) for number in range(first, last + 1)]
  slack = _ROUNDING * step
  return Axis(low=least, high=most, label=label, ticks=[
      (value, text(int(value) if integer else value)) for value in marked if least - slack <= value <= most + slack])


def logarithmic(low: float, high: float, *, label: str = '', text: Callable[[float], str] = numbers.plain) -> Axis:
  """Returns a logarithmic axis with ticks at powers of ten, or at 1, 2 and 5 times these if there are few; 0 < low."""
  decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
  factors = (1,) if len(decades) > 3 else (1, 2, 5)
  thin = max(1, -(-len(decades) // 7))
  marked = [factor * 10.0 ** power for power in decades for factor in factors if not power % thin]
  return Axis(low=low, high=high, label=label, log=True,
              ticks=[(value, text(value)) for value in marked if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)])


def named(names: Sequence[str], *, label: str = '', downwards: bool = False, most: int | None = None) -> Axis:
  """Returns an axis of rows or columns at 0, 1, 2, ...

  Args:
    downwards: Whether the first is at the upper end, as rows of a table are.
    most: The largest number of names to write; None: all.
  """
  step = 1 if most is None else max(1, -(-len(names) // most))
  low, high = -0.5, len(names) - 0.5
  if downwards:
    low, high = high, low
  return Axis(low=low, high=high, label=label, names=True,
              ticks=[(place, str(name)) for place, name in enumerate(names) if place % step == 0])


def width(text: str) -> float:
  """Returns about how wide a text is in a wide font such as DejaVu Sans, in multiples of its font size."""
  return sum(_wide(letter) for letter in text)


def _wide(letter):
  if unicodedata.east_asian_width(letter) in 'WF':
    return 1.0
  return 0.36 if letter in _SLIM else 0.97 if letter in 'mwMW%' else 0.72 if letter.isupper() else 0.62


def shortened(text: str, most: float) -> str:
  """Returns a text that is at most about `most` font sizes wide; an ellipsis stands for what is left out."""
  if width(text) <= most:
    return text
  while text and width(text) + 0.9 > most:
    text = text[:-1]
  return f'{text}…'
