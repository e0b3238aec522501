"""The classes of mask files: which value or colour is which class, from a list of classes or from the masks themselves.

A list of classes is a file `classes.txt` or `classes.csv` beside the images. Line k names class k, from 0; a colour may
stand before or after the name: `#rrggbb`, or three numbers in 0..255. A class called ignore or void does not count.

Without a list: masks of 0 and 255 have background and one class. Other masks of grey or palette values hold class
numbers, and 255 does not count. Masks of colours have one class for each colour, black first. Whether the places in a
palette or its colours tell the classes: see `mask_palettes`.
"""

import dataclasses
import pathlib
import re
from collections.abc import Mapping, Sequence, Set

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision.data.sources import mask_reading, text_files

_LISTS = ('classes.txt', 'classes.csv', 'class_dict.csv', 'label_colors.txt')
_IGNORED = {'ignore', 'ignored', 'void', 'unlabeled', 'unlabelled'}
_COLOUR = re.compile(r'#([0-9a-fA-F]{6})\b|\b(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\b')
# Grey masks with larger values hold one grey for each class rather than class numbers.
_LARGEST_NUMBER = 63
_MOST_COLOURS = 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Classes:
  """What the values of masks mean.

  Attributes:
    names: The classes.
    of_value: Value of a pixel -> class number, or `labels.IGNORED`; colours are 0xrrggbb.
    coloured: Whether values are colours rather than class numbers or greys.
    listed: The file that lists the classes; '' if they follow from the masks.
    notes: Sentences a user must see.
  """
  names: tuple[str, ...]
  of_value: Mapping[int, int]
  coloured: bool
  listed: str = ''
  notes: Sequence[str] = ()

  def shown(self, value: int) -> str:
    """Returns a value in words."""
    return f'colour #{value:06x}' if self.coloured else f'value {value}'


def resolve(root: pathlib.Path, found: Mapping[int, str], *, coloured: bool, ignored: int | None) -> Classes:
  """Returns the classes of masks.

  Args:
    root: The folder in which a list of classes may be.
    found: Value -> a mask that holds it; of all masks.
    coloured: Whether some masks have colours, and the values are 0xrrggbb.
    ignored: The user's value of pixels that do not count; None: as in the module's text.

  Raises:
    ValueError: A mask holds a value that is no class; or the list is not as described.
  """
  path = _list_in(root)
  if coloured and all(map(_is_grey, found)) and not listed_colours(root):
    # Palettes differ, and hold the greys that masks without palettes hold: class numbers or one grey for each class.
    made = resolve(root, {value & 0xff: mask for value, mask in found.items()}, coloured=False, ignored=ignored)
    return dataclasses.replace(made, coloured=True, of_value={
        value * mask_reading.GREY: number for value, number in made.of_value.items()})
  if path is not None:
    return _listed(path, found, coloured, ignored)
  values = sorted(set(found) - {ignored})
  if not values:
    raise ValueError(f'the masks hold nothing but ignore_index={ignored}: no pixel would count.')
  if len(values) > _MOST_COLOURS:
    raise ValueError(f'the masks hold {len(values)} different {"colours" if coloured else "values"}, '
                     f'{found[values[-1]]} among them: at most {_MOST_COLOURS} can be classes. Save them as PNG with '
                     f'one value for each class, or list the classes in {root / _LISTS[0]}.')
  if coloured:
    names = tuple(labels_lib.BACKGROUND if value == 0 else f'#{value:06x}' for value in values)
    said = f'The masks hold {len(values)} colours, which are the classes: {", ".join(names)}.'
    return Classes(names=names, of_value=_numbered(values, ignored), coloured=True, notes=(said,))
  if set(values) <= {0, 255}:
    of_value = {0: 0, 255: 1} | ({} if ignored is None else {ignored: labels_lib.IGNORED})
    return Classes(names=(labels_lib.BACKGROUND, '1'), of_value=of_value, coloured=False)
  if max(value for value in values if value != 255) > _LARGEST_NUMBER:
    names = tuple(labels_lib.BACKGROUND if value == 0 else str(value) for value in values)
    said = f'The masks hold {len(values)} greys, which are the classes: {", ".join(names)}.'
    return Classes(names=names, of_value=_numbered(values, ignored), coloured=False, notes=(said,))
  if ignored is not None and 255 in values:
    raise ValueError(f'{found[255]} holds the value 255, which is no class number, and ignore_index={ignored} is '
                     'another value that does not count: leave ignore_index out, and 255 does not count; neither does '
                     f'a class that {root / _LISTS[0]} calls void.')
  numbers = range(1 + max(value for value in values if value != 255))
  names = tuple(labels_lib.BACKGROUND if number == 0 else str(number) for number in numbers)
  notes = ('Pixels of the value 255 in masks do not count; ignore_index names another value.',) if (
      ignored is None and 255 in values) else ()
  return Classes(names=names, coloured=False, notes=notes,
                 of_value={number: number for number in numbers} | _ignored(ignored))


def listed_colours(root: pathlib.Path) -> Sequence[int]:
  """Returns the colours in the list of classes, class after class; empty if there is none, or it has no colours.

  Raises:
    ValueError: The list is not as described.
  """
  path = _list_in(root)
  return () if path is None else _read(path)[1]


def are_numbers(values: Set[int]) -> bool:
  """Returns whether values of masks are class numbers rather than greys."""
  return max(values) <= _LARGEST_NUMBER


def refuse_two_whites(masks: Sequence[str], held: Sequence[Set[int]], clients: Sequence[str | None]) -> None:
  """Refuses masks of which some hold 0 and 1 and others 0 and 255, for then 255 may be a class or may not count.

  The same holds where all masks of one client hold 0 and 255, and those of another class numbers.

  Args:
    masks: The name of each.
    held: The values in each.
    clients: The client of each, if there are clients.

  Raises:
    ValueError: With one of each.
  """
  one, white = ([mask for mask, values in zip(masks, held, strict=True) if {0, value} >= values > {0}]
                for value in (1, 255))
  if one and white and set.union(*held) == {0, 1, 255} and not any({1, 255} <= values for values in held):
    raise ValueError(f'{white[0]} holds 0 and 255, and {one[0]} 0 and 1: save all masks in one way, or say '
                     'ignore_index=255 if pixels of 255 do not count.')
  of_client: dict[str | None, set[int]] = {}
  for client, values in zip(clients, held, strict=False):
    of_client.setdefault(client, set()).update(values)
  white, numbered = ([client for client, values in of_client.items() if values - {0} and rule(values - {0})]
                     for rule in (lambda values: values == {255}, are_numbers))
  if white and numbered and not any(255 in values and values - {0, 255} for values in held):
    raise ValueError(f'all masks of client {white[0]!r} hold 0 and 255 only, and those of client {numbered[0]!r} '
                     f'{sorted(of_client[numbered[0]])[:8]}: save all masks in one way, or say ignore_index=255 if '
                     'pixels of 255 do not count.')


def _list_in(root):
  return next((root / name for name in _LISTS if (root / name).is_file()), None)


def _is_grey(colour):
  return colour == (colour & 0xff) * mask_reading.GREY


def _numbered(values, ignored):
  return {value: number for number, value in enumerate(values)} | (
      {} if ignored is None else {ignored: labels_lib.IGNORED})


def _ignored(given):
  return {255 if given is None else given: labels_lib.IGNORED}


def _listed(path, found, coloured, ignored):
  names, colours, notes = _read(path)
  if coloured and not colours:
    mask = found[max(found)]
    raise ValueError(f'{mask} has colours, and {path} names none: write #rrggbb before the name of each class.')
  values = colours if coloured else range(len(names))
  of_value = {value: number for number, value in enumerate(values)}
  if not coloured and len(names) == 2 and set(found) <= {0, 255, ignored}:
    of_value = {0: 0, 255: 1}
  if not coloured and 255 not in of_value:
    of_value |= _ignored(ignored)
  elif ignored is not None:
    of_value[ignored] = labels_lib.IGNORED
  kept, numbers = [], {}
  for number, name in enumerate(names):  # A class that does not count takes no number.
    numbers[number] = labels_lib.IGNORED if name.lower() in _IGNORED else len(kept)
    if name.lower() not in _IGNORED:
      kept.append(name)
  if len(kept) < len(names):
    notes = (*notes, f'Pixels of {" and ".join(name for name in names if name.lower() in _IGNORED)} do not count.',)
  numbers[labels_lib.IGNORED] = labels_lib.IGNORED
  made = Classes(names=tuple(kept), coloured=coloured, listed=str(path), notes=notes,
                 of_value={value: numbers[number] for value, number in of_value.items()})
  if unknown := sorted(set(found) - set(made.of_value)):
    raise ValueError(f'{found[unknown[0]]} holds the {made.shown(unknown[0])}, which is no class of {path} '
                     f'({len(names)} classes).')
  return made


def _read(path):
  """Returns names, colours (empty if there are none), and notes.

  Raises:
    ValueError: Only some lines have a colour, a name is missing, or a name or colour is there twice.
  """
  text, notes = text_files.read(path)
  lines = [line.strip() for line in text.splitlines()]
  names, colours = [], []
  for number, line in enumerate(lines, start=1):
    if not line or re.fullmatch(r'name\W+r\W+g\W+b', line.lower()):
      continue
    colour = _COLOUR.search(line)
    name = (line[:colour.start()] + line[colour.end():] if colour else line).strip(' \t,;:')
    if not name:
      raise ValueError(f'{path} line {number} names no class.')
    names.append(name)
    if colour:
      hexadecimal, *parts = colour.groups()
      red, green, blue = map(int, parts) if hexadecimal is None else bytes.fromhex(hexadecimal)
      if max(red, green, blue) > 255:
        raise ValueError(f'{path} line {number}: {colour.group()} is no colour of numbers in 0..255.')
      colours.append(red << 16 | green << 8 | blue)
  if len(colours) not in (0, len(names)):
    raise ValueError(f'{path} gives a colour to {len(colours)} of {len(names)} classes: give one to each, or to none.')
  if not 2 <= len(names) <= labels_lib.MOST_MASK_CLASSES:
    raise ValueError(f'{path} names {len(names)} classes; there must be 2 to {labels_lib.MOST_MASK_CLASSES}.')
  for what, column in (('class', names), ('colour', colours)):
    if len(set(column)) < len(column):
      raise ValueError(f'{path} names a {what} twice.')
  return names, colours, tuple(notes)


def table(classes: Classes) -> tuple[np.ndarray, np.ndarray]:
  """Returns the values in order and their class numbers, uint8."""
  values = np.array(sorted(classes.of_value), np.int64)
  return values, np.array([classes.of_value[int(value)] for value in values], np.uint8)
