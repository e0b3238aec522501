"""Figures that matplotlib draws as pictures, for light and dark pages. Nothing here uses its global state.

New figures are charts of `chart`, which are text, follow the page's colours and have tooltips.
"""

import dataclasses
import io
from collections.abc import Callable, Mapping

import matplotlib
from matplotlib import colors, figure

from tff_vision.report.palette import CLASS_COLORS  # noqa: F401 (read by those who draw)

WIDTH = 9.6
DPI = 150


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theme:
  """Colours of one scheme; `surface` is the colour of the page's cards."""
  surface: str
  ink: str
  muted: str
  grid: str
  first: str
  second: str
  third: str


THEMES = {
    'light': Theme(surface='#ffffff', ink='#1a2330', muted='#5a6675', grid='#e3e7ec', first='#1f5fa8',
                   second='#b5540c', third='#8894a3'),
    'dark': Theme(surface='#1b222c', ink='#e8ecf1', muted='#a3aebb', grid='#323c49', first='#7db3ee',
                  second='#f0a45f', third='#7c8896'),
}
Draw = Callable[[Theme], figure.Figure]


def render(draw: Draw) -> dict[str, bytes]:
  """Returns the PNG of a figure for each theme."""
  pngs = {}
  for name, theme in THEMES.items():
    with matplotlib.rc_context(_style(theme)):
      buffer = io.BytesIO()
      draw(theme).savefig(buffer, format='png', dpi=DPI, metadata={'Software': None})
      pngs[name] = buffer.getvalue()
  return pngs


def _style(theme: Theme) -> Mapping[str, object]:
  return {
      'figure.facecolor': theme.surface, 'axes.facecolor': theme.surface, 'savefig.facecolor': theme.surface,
      'text.color': theme.ink, 'axes.labelcolor': theme.muted, 'axes.edgecolor': theme.grid,
      'axes.titlecolor': theme.ink, 'xtick.color': theme.muted, 'ytick.color': theme.muted, 'grid.color': theme.grid,
      'axes.grid': True, 'axes.grid.axis': 'y', 'axes.axisbelow': True, 'axes.spines.top': False,
      'axes.spines.right': False, 'axes.spines.left': False, 'axes.titlesize': 11, 'axes.titlelocation': 'left',
      'axes.titleweight': 'bold', 'font.size': 9.5, 'legend.frameon': False, 'xtick.major.size': 0,
      'ytick.major.size': 0, 'text.parse_math': False, 'lines.linewidth': 1.9, 'figure.constrained_layout.use': True,
  }


def scale_to(theme: Theme) -> colors.Colormap:
  """Returns the colours of a heat map: from the page's colour to the first colour of the theme."""
  return colors.LinearSegmentedColormap.from_list('values', [theme.surface, theme.first])
