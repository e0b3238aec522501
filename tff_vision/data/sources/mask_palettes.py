"""Tells whether masks with palettes are read by places in the palette or by colours.

Programs that label images write class numbers, and a palette that shows them, the same in all files. Programs that make
files smaller write a palette for each file, in which a place says nothing: there only the colours tell the classes.
"""

from collections.abc import Sequence

import numpy as np

from tff_vision.data.sources import mask_reading


def different(values: mask_reading.Values) -> mask_reading.Values:
  """Returns each value of a mask once, [different values], with its colour beside it."""
  if values.numbers is None:
    return values._replace(colours=np.unique(values.colours))
  numbers, firsts = np.unique(values.numbers, return_index=True)
  return values._replace(numbers=numbers, colours=values.colours.reshape(-1)[firsts])


def difference(masks: Sequence[tuple[str, mask_reading.Values]]) -> str:
  """Returns a sentence on two masks whose palettes do not belong together, or ''.

  Args:
    masks: The file of each mask, and its values as `different` returns them.
  """
  first: dict[int, tuple[int, str]] = {}
  for name, values in masks:
    for number, colour in zip(*_pairs(values), strict=True):
      known, other = first.setdefault(number, (colour, name))
      if known != colour:
        return (f'The palettes of masks differ: place {number} is #{known:06x} in {other} and #{colour:06x} in {name}. '
                'So the colours are the classes, and not the places in palettes.')
  greys = {int(colour) for _, values in masks if values.numbers is not None and not values.palette
           for colour in values.colours}
  for name, values in masks:
    numbers, colours = _pairs(values)
    if colours and colours != [number * mask_reading.GREY for number in numbers] and set(colours) <= greys:
      return (f'{name} has a palette of greys that other masks hold without one. So its greys are the classes, and not '
              'the places in its palette.')
  return ''


def go_by_list(masks: Sequence[mask_reading.Values], listed: Sequence[int]) -> bool:
  """Returns whether a list of classes with colours tells the classes of masks that could also hold class numbers.

  So it is if the list has every colour of the masks, or a palette has a colour of the list at the place of another
  class.

  Args:
    masks: Values as `different` returns them.
    listed: The colours of the list, class after class; empty if there are none.
  """
  if not listed or not masks:
    return False
  if set(np.concatenate([values.colours for values in masks]).tolist()) <= set(listed):
    return True
  pairs = {pair for values in masks for pair in zip(*_pairs(values), strict=True)}
  return any(colour in listed and listed[number:number + 1] != [colour] for number, colour in pairs)


def _pairs(values):
  """Returns the places of a palette that are used, and their colours; none for a mask without a palette."""
  if not values.palette:
    return [], []
  return values.numbers.tolist(), values.colours.tolist()
