"""The colours of pages and figures, for light and dark screens.

One colour per class and per compared run, the same in reports, comparisons and pictures of the data. These colours
have a contrast of at least 3 with both surfaces, and those of text at least 4.5.
"""

import dataclasses

CLASS_COLORS = ('#4e79a7', '#d9731a', '#3f8f4a', '#d64550', '#9a62a0', '#2f8f8b', '#a8841c', '#c9568f', '#9c6b4f',
                '#6f8f1f', '#7872d6', '#7d8590')
_NAMES = ('page', 'card', 'ink', 'muted', 'line', 'accent', 'band', 'warn', 'warn_band', 'first', 'second', 'third')
_DARK_TEXT, _LIGHT_TEXT = '#000000', '#ffffff'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Theme:
  """Colours of one scheme, as `#rrggbb`.

  Attributes:
    card: The surface that figures and tables stand on.
    line: Rules between rows, and the grid of figures.
    first: The main colour of figures; heat maps go from `card` to it.
  """
  page: str
  card: str
  ink: str
  muted: str
  line: str
  accent: str
  band: str
  warn: str
  warn_band: str
  first: str
  second: str
  third: str


LIGHT = Theme(page='#f3f5f8', card='#ffffff', ink='#1a2330', muted='#56616f', line='#dfe4ea', accent='#1f5fa8',
              band='#eef3f9', warn='#8a3b00', warn_band='#fdf1e6', first='#1f5fa8', second='#b5540c', third='#7d8997')
DARK = Theme(page='#12171e', card='#1b222c', ink='#e8ecf1', muted='#a3aebb', line='#323c49', accent='#7db3ee',
             band='#222c39', warn='#f3b27a', warn_band='#33261a', first='#7db3ee', second='#f0a45f', third='#7c8896')


def css() -> str:
  """Returns the custom properties of both schemes, and a class for each colour of a figure."""
  light, dark = (' '.join(f'--{name.replace("_", "-")}: {getattr(theme, name)};' for name in _NAMES)
                 for theme in (LIGHT, DARK))
  looks = [f'.{name} {{ color: var(--{name}); }}' for name in ('first', 'second', 'third')]
  looks += [f'.c{number} {{ color: {color}; }}' for number, color in enumerate(CLASS_COLORS)]
  dark_texts = [f'.t{a}{b} {{ fill: {_text(b)}; }}' for a in 'dl' for b in 'dl']
  texts = [f'.t{a}{b} {{ fill: {_text(a)}; }}' for a in 'dl' for b in 'dl']
  return '\n'.join((f':root {{ {light} }}', *looks, *texts, '@media screen and (prefers-color-scheme: dark) {',
                    f':root {{ {dark} }}', *dark_texts, '}'))


def look(number: int) -> str:
  """Returns the class of the colour of a numbered class or run; after the last colour they begin again."""
  return f'c{number % len(CLASS_COLORS)}'


def text_on_heat(share: float) -> str:
  """Returns the class of text on a cell of a heat map that is `share` of the way to the main colour."""
  return 't' + ''.join('d' if contrast(_DARK_TEXT, mixed) >= contrast(_LIGHT_TEXT, mixed) else 'l'
                       for theme in (LIGHT, DARK) for mixed in [mix(theme.card, theme.first, share)])


def mix(below: str, above: str, share: float) -> str:
  """Returns the colour of `above` at opacity `share` over `below`."""
  return '#' + ''.join(f'{round(a + share * (b - a)):02x}' for a, b in zip(_rgb(below), _rgb(above), strict=True))


def contrast(one: str, other: str) -> float:
  """Returns the contrast ratio of two colours, 1 to 21 (WCAG 2.1, section 1.4.3)."""
  low, high = sorted(_luminance(color) for color in (one, other))
  return (high + 0.05) / (low + 0.05)


def _text(kind):
  return _DARK_TEXT if kind == 'd' else _LIGHT_TEXT


def _rgb(color):
  return [int(color[i:i + 2], 16) for i in (1, 3, 5)]


def _luminance(color):
  linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
            for value in (part / 255 for part in _rgb(color))]
  return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
