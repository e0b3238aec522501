"""What is drawn in the panel of a chart: lines, bands, bars, heat maps; as elements of an SVG with tooltips."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Protocol

import markupsafe

from tff_vision.report import axes as axes_lib
from tff_vision.report import number_format as numbers
from tff_vision.report import palette

_TOOLTIPS = 150  # Marks of one line that have a tooltip.
_SPARSE = 40  # A line of at most so many points shows them.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Frame:
  """From values to places in an SVG."""
  x: axes_lib.Axis
  y: axes_lib.Axis
  left: float
  right: float
  top: float
  bottom: float

  def across(self, value: float) -> float:
    return round(self.left + self.x.place(value) * (self.right - self.left), 1)

  def down(self, value: float) -> float:
    return round(self.bottom - self.y.place(value) * (self.bottom - self.top), 1)


class Mark(Protocol):
  """Something that is drawn in a panel."""

  def svg(self, frame: Frame) -> markupsafe.Markup:
    """Returns the elements."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
  """A line through points; values that are not finite are left out.

  Attributes:
    look: The class of the colour.
    name: What tooltips call it.
    text: From a point (x, y) to the text of its tooltip, behind the name.
    dots: Whether points are marked; None: if there are few.
    joined: Whether points are joined.
    dashed: Whether the line is dashed.
    stepped: Whether the line goes up at each point and not slantwise to it.
  """
  xs: Sequence[float]
  ys: Sequence[float]
  look: str
  name: str = ''
  texts: Sequence[str] = ()
  dots: bool | None = None
  joined: bool = True
  dashed: bool = False
  stepped: bool = False

  def svg(self, frame):
    texts = self.texts or [f'{numbers.plain(x)}: {numbers.plain(y)}' for x, y in zip(self.xs, self.ys, strict=True)]
    points = [(frame.across(x), frame.down(y), text) for x, y, text in zip(self.xs, self.ys, texts, strict=True)
              if numbers.is_finite(x) and numbers.is_finite(y)]
    dots = len(points) <= _SPARSE if self.dots is None else self.dots
    made = []
    if self.joined and len(points) > 1:
      path = ''.join(f'H{x:g}V{y:g}' if self.stepped else f'L{x:g} {y:g}' for x, y, _ in points[1:])
      made.append(made_of('<path class="stroke{}" d="M{:g} {:g}{}"/>', ' dashed' if self.dashed else '', *points[0][:2],
                        path))
    named = f'{self.name}, ' if self.name else ''
    thin = 1 if dots else max(1, -(-len(points) // _TOOLTIPS))
    look, radius = ('dot', 3) if dots else ('hit', 6)
    made += [made_of('<circle class="{}" cx="{:g}" cy="{:g}" r="{}"><title>{}</title></circle>', look, x, y, radius,
                     named + text) for x, y, text in points[::thin]]
    return group(self.look, made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Band:
  """The area between two lines over the same places."""
  xs: Sequence[float]
  lows: Sequence[float]
  highs: Sequence[float]
  look: str

  def svg(self, frame):
    points = [(x, low, high) for x, low, high in zip(self.xs, self.lows, self.highs, strict=True)
              if all(map(numbers.is_finite, (x, low, high)))]
    if not points:
      return markupsafe.Markup()
    edge = [(x, low) for x, low, _ in points] + [(x, high) for x, _, high in points[::-1]]
    return group(self.look, [made_of('<polygon class="band" points="{}"/>', ' '.join(
        f'{frame.across(x):g},{frame.down(y):g}' for x, y in edge))])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Bars:
  """Bars from a base to a value: rows that go to the right, or columns that go up.

  Attributes:
    places: The middle of each bar, in values of the axis that it stands on.
    size: The width of a bar, in values of that axis.
    bases: Where each bar begins; empty: at the low end of the axis.
    written: Text beside the end of each bar; empty: none.
  """
  places: Sequence[float]
  values: Sequence[float]
  texts: Sequence[str]
  look: str
  rows: bool = False
  size: float = 0.72
  bases: Sequence[float] = ()
  written: Sequence[str] = ()

  def svg(self, frame):
    made = []
    least = (frame.x if self.rows else frame.y).low
    bases = self.bases or [least] * len(self.values)
    for number, (place, base, value, text) in enumerate(zip(self.places, bases, self.values, self.texts, strict=True)):
      along, beside = (frame.across, frame.down) if self.rows else (frame.down, frame.across)
      if numbers.is_finite(value):
        (start, end), (near, far) = sorted((along(base), along(value))), sorted(
            (beside(place - self.size / 2), beside(place + self.size / 2)))
        x, y, wide, high = (start, near, end - start, far - near) if self.rows else (
            near, start, far - near, end - start)
        made.append(made_of('<rect class="bar" x="{:g}" y="{:g}" width="{:.1f}" height="{:.1f}"><title>{}</title>'
                            '</rect>', x, y, max(wide, 0.5), max(high, 0.5), text))
      if self.written and self.rows:
        end = frame.across(value) if numbers.is_finite(value) else frame.left
        made.append(made_of('<text class="small" x="{:g}" y="{:g}">{}</text>', end + 5, frame.down(place) + 4,
                          self.written[number]))
    return group(self.look, made)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Spans:
  """Lines such as intervals, from `lows` to `highs`: along x at heights `places`, or upright at `places` on x."""
  places: Sequence[float]
  lows: Sequence[float]
  highs: Sequence[float]
  look: str
  upright: bool = False

  def svg(self, frame):
    lines = []
    for place, low, high in zip(self.places, self.lows, self.highs, strict=True):
      path = (f'M{frame.across(place):g} {frame.down(low):g}V{frame.down(high):g}' if self.upright else
              f'M{frame.across(low):g} {frame.down(place):g}H{frame.across(high):g}')
      lines.append(made_of('<path class="stroke" d="{}"/>', path))
    return group(self.look, lines)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Words:
  """Short texts beside points."""
  xs: Sequence[float]
  ys: Sequence[float]
  texts: Sequence[str]

  def svg(self, frame):
    return group('first', [made_of('<text class="beside" x="{:g}" y="{:g}">{}</text>', frame.across(x) + 5,
                                   frame.down(y) - 5, text)
                           for x, y, text in zip(self.xs, self.ys, self.texts, strict=True)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rule:
  """A straight line at one value over the whole panel."""
  value: float
  look: str
  text: str
  upright: bool = False
  dashed: bool = True

  def svg(self, frame):
    if self.upright:
      path = f'M{frame.across(self.value):g} {frame.top:g}V{frame.bottom:g}'
    else:
      path = f'M{frame.left:g} {frame.down(self.value):g}H{frame.right:g}'
    return group(self.look, [made_of('<path class="stroke{}" d="{}"><title>{}</title></path>',
                                    ' dashed' if self.dashed else '', path, self.text)])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cells:
  """A heat map: from the surface of the page to the main colour.

  Attributes:
    values: [rows, columns]; the first row is at y = 0. None and NaN are left empty.
    most: The value that has the full colour.
    texts: [rows, columns] of tooltips.
    written: [rows, columns] of texts in the cells; empty: none.
    least: The value that has the colour of the surface.
  """
  values: Sequence[Sequence[float | None]]
  most: float
  texts: Sequence[Sequence[str]]
  written: Sequence[Sequence[str]] = ()
  least: float = 0.0

  def svg(self, frame):
    made = []
    for row, values in enumerate(self.values):
      top, bottom = sorted((frame.down(row - 0.5), frame.down(row + 0.5)))
      for column, value in enumerate(values):
        if value is None or not math.isfinite(value):
          continue
        left, right = frame.across(column - 0.5), frame.across(column + 0.5)
        share = min(1.0, max(0.0, (value - self.least) / ((self.most - self.least) or 1)))
        made.append(made_of('<rect class="cell" x="{:g}" y="{:g}" width="{:.1f}" height="{:.1f}" '
                          'fill-opacity="{:.3g}"><title>{}</title></rect>', left, top, right - left, bottom - top,
                          share, self.texts[row][column]))
        if self.written:
          made.append(made_of('<text class="in-cell {}" x="{:.1f}" y="{:.1f}">{}</text>', palette.text_on_heat(share),
                            (left + right) / 2, (top + bottom) / 2 + 4, self.written[row][column]))
    return group('first', made)


def group(look: str, elements: Sequence[markupsafe.Markup]) -> markupsafe.Markup:
  """Returns the elements in a group of one colour."""
  return made_of('<g class="{}">{}</g>', look, markupsafe.Markup('').join(elements))


def made_of(form: str, *values: object) -> markupsafe.Markup:
  """Returns markup with the values in it, escaped."""
  return markupsafe.Markup(form).format(*values)
