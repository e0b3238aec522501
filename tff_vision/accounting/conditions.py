"""The conditions without which an epsilon says nothing, as values. Nothing here imports numerical libraries.

Reports contain each condition as the text that `str` gives; `from_text` reads it back.
"""

import dataclasses
import enum


class Unit(enum.StrEnum):
  """The privacy unit: what one record is, and so whose data is protected."""
  CLIENT = 'client'
  EXAMPLE = 'example'


class Relation(enum.StrEnum):
  """The neighbouring relation: the difference between two data sets that the guarantee makes hard to distinguish."""
  ADD_OR_REMOVE_ONE = 'add_or_remove_one'
  REPLACE_ONE = 'replace_one'
  ZERO_OUT_ONE = 'zero_out_one'

  def describe(self, unit: Unit, *, against_server: bool) -> str:
    """Returns the relation in words.

    Args:
      unit: What one record is.
      against_server: Whether the guarantee also holds against a party that reads the updates before they are summed.
    """
    return (f'{self.removesuffix("_one").replace("_", " ")} one {unit}'
            + ('\'s update, against the server too' if against_server else ''))

  @classmethod
  def from_text(cls, text: str, unit: Unit) -> tuple['Relation', bool]:
    """Returns the relation and `against_server` from a text that `describe` wrote.

    Raises:
      ValueError: `describe` does not write this text for this unit.
    """
    for relation in cls:
      for against_server in (False, True):
        if text == relation.describe(unit, against_server=against_server):
          return relation, against_server
    raise ValueError(f'relation {text!r} is none between data sets that differ in one {unit}.')


class Accountant(enum.StrEnum):
  """The method that computed epsilon; each method gives an upper bound."""
  PLD = 'PLD'
  RDP = 'RDP'
  GAUSSIAN = 'Gaussian, exact'


class Scheme(enum.StrEnum):
  """How the records of a step are chosen, as far as epsilon depends on it."""
  POISSON = 'poisson'
  ALLOCATION = 'random allocation'
  ROUND_ROBIN = 'round_robin'
  BLOCKS = 'blocks in turn'
  SHUFFLED = 'shuffled'
  BALLS_IN_BINS = 'balls_in_bins'
  CYCLIC = 'cyclic'
  NONE_CLAIMED = 'none claimed'


@dataclasses.dataclass(frozen=True)
class Sampling:
  """A sampling scheme with the numbers on which epsilon depends.

  Attributes:
    scheme: How records are chosen.
    detail: Rate, sizes and the like in words; empty where there are none.
    blocks: For `BLOCKS`: the number of blocks.
  """
  scheme: Scheme
  detail: str = ''
  blocks: int | None = None

  def __post_init__(self):
    object.__setattr__(self, 'scheme', Scheme(self.scheme))
    if (self.blocks is not None) != (self.scheme is Scheme.BLOCKS):
      raise ValueError(f'blocks={self.blocks} does not go with sampling {str(self.scheme)!r}.')

  def __str__(self):
    number = '' if self.blocks is None else f'{self.blocks} '
    return f'{number}{self.scheme}' + (f', {self.detail}' if self.detail else '')

  @classmethod
  def from_text(cls, text: str) -> 'Sampling':
    """Returns the sampling from a text that `str` wrote.

    Raises:
      ValueError: `str` does not write this text.
    """
    head, _, detail = text.partition(', ')
    number, _, name = head.partition(' ')
    counted = number.isascii() and number.isdigit()
    try:
      return cls(Scheme(name if counted else head), detail, int(number) if counted else None)
    except ValueError:
      raise ValueError(f'sampling {text!r} is none that is known.') from None
