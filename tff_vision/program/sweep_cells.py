"""The cells of a sweep: a grid, or random draws, of settings; each is the configuration of one run."""

import dataclasses
import hashlib
import itertools
import math
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import configs, seeds

_LONGEST_NAME = 120  # In bytes of UTF-8; a file system allows 255, and a log has its name.
_MOST_WHOLE = 2**63 - 1  # numpy draws whole numbers of 64 bits.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Range:
  """Numbers between two inclusive bounds; integers are drawn uniformly, other numbers uniformly in their logarithm."""
  low: float
  high: float
  whole: bool

  def draw(self, rng: np.random.Generator) -> int | float:
    if self.whole:
      return int(rng.integers(int(self.low), int(self.high) + 1))
    return float(f'{math.exp(rng.uniform(math.log(self.low), math.log(self.high))):.4g}')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell:
  """One run of a sweep.

  Attributes:
    name: The name of its folder.
    settings: The settings that the sweep chooses.
    config: The config of the whole experiment.
  """
  name: str
  settings: Mapping[str, Any]
  config: configs.ExperimentConfig


def parse(grid: str) -> dict[str, list[Any] | Range]:
  """Returns the values of each setting in `name=value,value;name=low..high`.

  Raises:
    ValueError: `grid` does not have that form, or names something that is not a setting of a run.
  """
  found = {}
  for part in filter(None, (part.strip() for part in grid.split(';'))):
    name, equals, values = (piece.strip() for piece in part.partition('='))
    if not equals or not values:
      raise ValueError(f'grid={grid!r}: {part!r} is not of the form name=value,value.')
    kind = _kinds().get(name)
    if kind is None:
      raise ValueError(f'grid names {name!r}, which is no setting of a run; see python -m pipelines.train --help.')
    if name in found:
      raise ValueError(f'grid names {name!r} twice.')
    if '..' in values and (int in kind or float in kind):
      found[name] = _range(name, values, kind)
    else:
      found[name] = list(dict.fromkeys(_value(name, text.strip(), kind) for text in values.split(',')))
  if not found:
    raise ValueError('grid is empty: name=value,value;name=value,value.')
  return found


def make(base: configs.ExperimentConfig, grid: Mapping[str, list[Any] | Range], *, draws: int | None) -> list[Cell]:
  """Returns the cells of a sweep; they depend only on the arguments.

  Args:
    base: The config with all settings that the grid does not name.
    grid: From `parse`.
    draws: None means all combinations; otherwise the number of distinct random cells, drawn with the base's seed.

  Raises:
    ValueError: A cell is not a valid experiment, or the grid has a range and `draws` is None.
  """
  ranges = [name for name, values in grid.items() if isinstance(values, Range)]
  if draws is None:
    if ranges:
      raise ValueError(f'grid gives {ranges[0]} a range; a range needs --random, the number of cells to draw.')
    chosen = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
  else:
    chosen = _drawn(base, grid, draws)
  return [cell(base, settings) for settings in chosen]


def _drawn(base, grid, draws):
  rng = np.random.default_rng(seeds.derive(base.program.seed, 'sweep'))
  if not any(isinstance(values, Range) for values in grid.values()):
    every = list(itertools.product(*grid.values()))
    order = rng.permutation(len(every))[:draws]
    return [dict(zip(grid, every[i], strict=True)) for i in order]
  found = {}
  for _ in range(20 * draws):  # Short integer ranges may hold fewer cells than are requested.
    settings = {name: values.draw(rng) if isinstance(values, Range) else values[rng.integers(len(values))]
                for name, values in grid.items()}
    found.setdefault(tuple(settings.values()), settings)
    if len(found) == draws:
      break
  return list(found.values())


def cell(base: configs.ExperimentConfig, settings: Mapping[str, Any]) -> Cell:
  """Returns the cell with these settings.

  Raises:
    ValueError: It is not a valid experiment.
  """
  name = _folder(','.join(f'{key}={value}' for key, value in settings.items()))
  changes = {}
  for section, cls in configs.sections().items():
    if own := {field.name: settings[field.name] for field in dataclasses.fields(cls) if field.name in settings}:
      try:
        changes[section] = dataclasses.replace(getattr(base, section), **own)
      except ValueError as error:
        raise ValueError(f'cell {name}: {error}') from None
  return Cell(name=name, settings=settings, config=dataclasses.replace(base, **changes))


def _folder(name):
  """Returns a name for a folder; where it is not the same, a digest keeps it apart from those of other cells."""
  short = name.replace('/', '_').replace(':', '_').encode()[:_LONGEST_NAME].decode(errors='ignore')
  return name if short == name else f'{short}-{hashlib.sha256(name.encode()).hexdigest()[:8]}'


def _kinds() -> dict[str, Sequence[type]]:
  """Returns the types that each setting may have."""
  found = {}
  for section in configs.sections().values():
    for name, hint in typing.get_type_hints(section).items():
      # Fields that also accept objects are text in a grid: names and references.
      found[name] = ((str, type(None)) if hint is Any
                     else typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,))
  return found


def _value(name, text, kind):
  if type(None) in kind and text.lower() == 'none':
    return None
  if bool in kind and text.lower() in ('true', 'false'):
    return text.lower() == 'true'
  for number in (int, float):
    if number in kind:
      try:
        return number(text)
      except ValueError:
        continue
  if str in kind and text:
    return text
  raise ValueError(f'grid: {name}={text!r} is not of the kind that {name} has.')


def _range(name, values, kind):
  low, _, high = values.partition('..')
  found = Range(low=_value(name, low.strip(), kind), high=_value(name, high.strip(), kind), whole=float not in kind)
  if not (found.low < found.high and (found.whole or found.low > 0)):
    raise ValueError(f'grid: {name}={values!r} must be low..high with low < high, above 0 unless whole numbers.')
  if not (-_MOST_WHOLE <= found.low and found.high < _MOST_WHOLE if found.whole else math.isfinite(found.high)):
    raise ValueError(f'grid: {name}={values!r} is too wide a range to draw from.')
  return found
