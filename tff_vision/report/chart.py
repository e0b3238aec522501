"""Charts as inline SVG: they take the colours of the page, each mark has a tooltip, and no script is needed.

A `Figure` is one or more panels, a legend outside of them, and a description in words. Colours are classes of
`palette.css`.
"""

import dataclasses
from collections.abc import Sequence

import markupsafe

from tff_vision.report import axes as axes_lib
from tff_vision.report import marks as marks_lib

NARROW, WIDE = 450, 920
_FONT = 12
_MOST_NAME = 20  # Font sizes.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Panel:
  """One coordinate system; its title is text of the page.

  Attributes:
    title: What is drawn; includes what the y axis measures.
    height: Of the area that is drawn in, in units of the SVG.
    width: Of the SVG: NARROW, or WIDE for a panel that needs the whole width of the page.
    grid: Whether lines are drawn at the ticks of axes that have numbers.
    margin: Space at the right, for what is written beside bars.
  """
  title: str
  x: axes_lib.Axis
  y: axes_lib.Axis
  marks: Sequence[marks_lib.Mark]
  height: float = 200
  width: float = NARROW
  grid: bool = True
  margin: float = 24

  def svg(self) -> markupsafe.Markup:
    """Returns the panel without its title."""
    names = [axes_lib.shortened(text, _MOST_NAME) for _, text in self.y.ticks]
    left = 8 + _FONT * max(map(axes_lib.width, names), default=0)
    slant = self._slanted(left)
    lengths = [_FONT * axes_lib.width(axes_lib.shortened(text, _MOST_NAME)) for _, text in self.x.ticks]
    below = 20 + (6 + 0.66 * max(lengths) if slant else 0)
    if slant:  # Names that end below their ticks begin to the left of these.
      left = max(left, 8 + 0.78 * max(lengths[:2]))
    frame = marks_lib.Frame(x=self.x, y=self.y, left=left, right=self.width - self.margin, top=8,
                            bottom=8 + self.height)
    height = frame.bottom + below + (18 if self.x.label else 0)
    made = [*self._y_ticks(frame, names), *self._x_ticks(frame, slant)]
    if self.x.label:
      made.append(marks_lib.made_of('<text class="tick middle" x="{:.1f}" y="{:.1f}">{}</text>',
                                    (frame.left + frame.right) / 2, height - 5, self.x.label))
    made += [mark.svg(frame) for mark in self.marks]
    return marks_lib.made_of('<svg viewBox="0 0 {:g} {:.0f}" aria-hidden="true" focusable="false">{}</svg>',
                             self.width, height, markupsafe.Markup('').join(made))

  def _slanted(self, left):
    room = (self.width - self.margin - left) / max(1, len(self.x.ticks))
    return self.x.names and any(_FONT * axes_lib.width(text) > room - 4 for _, text in self.x.ticks)

  def _y_ticks(self, frame, names):
    for (value, text), shown in zip(self.y.ticks, names, strict=True):
      y = frame.down(value)
      if self.grid and not self.y.names:
        yield marks_lib.made_of('<path class="grid" d="M{:g} {:g}H{:g}"/>', frame.left, y, frame.right)
      yield marks_lib.made_of('<text class="tick end" x="{:.1f}" y="{:.1f}">{}{}</text>', frame.left - 5, y + 4,
                              shown, _title(text, shown))

  def _x_ticks(self, frame, slant):
    for value, text in self.x.ticks:
      x, y = frame.across(value), frame.bottom + 16
      if self.grid and not self.x.names and self.y.names:
        yield marks_lib.made_of('<path class="grid" d="M{:g} {:g}V{:g}"/>', x, frame.top, frame.bottom)
      shown = axes_lib.shortened(text, _MOST_NAME)
      if slant:
        yield marks_lib.made_of('<text class="tick end" transform="translate({:g} {:g}) rotate(-40)">{}{}</text>',
                                x + 4, y - 4, shown, _title(text, shown))
        continue
      yield marks_lib.made_of('<text class="tick middle" x="{:.1f}" y="{:g}">{}</text>', x, y, shown)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Key:
  """A line of a legend; `kind` is `line`, `dashed`, `dot` or `box`."""
  look: str
  name: str
  kind: str = 'line'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figure:
  """Panels that belong together; `alt` says in words what they show."""
  alt: str
  panels: Sequence[Panel]
  legend: Sequence[Key] = ()

  @property
  def layout(self) -> str:
    """`wide` if a panel needs the whole width, else `one` or `many`."""
    if any(panel.width > NARROW for panel in self.panels):
      return 'wide'
    return 'one' if len(self.panels) == 1 else 'many'


def _title(text, shown):
  return marks_lib.made_of('<title>{}</title>', text) if shown != text else ''
