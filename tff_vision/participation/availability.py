"""Which clients can be reached in a round: pure functions of (seed, round)."""

import csv
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tff_vision import configs, seeds

Availability = Callable[[int], np.ndarray]
"""Given the round's number, counted from 1, returns [population] bool."""

_COLUMNS = ('client', 'join', 'leave')
# Clients live in time zones; one deviation of them is so much of a day.
_ZONE_SPREAD = 0.08


@dataclasses.dataclass(frozen=True)
class Intervals:
  """Clients that join and leave.

  Attributes:
    client: [intervals] client numbers; one may come back.
    join: [intervals] first round in which the client is there.
    leave: [intervals] first round in which it no longer is; infinity if it stays.
    population: Number of clients; one without an interval is always there.
  """
  client: np.ndarray
  join: np.ndarray
  leave: np.ndarray
  population: int

  def __call__(self, round_num: int) -> np.ndarray:
    there = np.ones(self.population, bool)
    there[self.client] = False
    there[self.client[(self.join <= round_num) & (round_num < self.leave)]] = True
    return there


@dataclasses.dataclass(frozen=True)
class DayNight:
  """Waves: a client is there for `share` of each day of `rounds` rounds; most share one night.

  Attributes:
    phase: [population] where in its day a client is in round 0, as a fraction of the day.
  """
  rounds: int
  share: float
  phase: np.ndarray

  def __call__(self, round_num: int) -> np.ndarray:
    return (round_num / self.rounds + self.phase) % 1 < self.share


def build(config: configs.CohortConfig, *, population: int, seed: int) -> Sequence[Availability]:
  """Returns the conditions that `config` names; a client is there if all hold.

  Raises:
    ValueError: The trace file is missing or not what it should be.
  """
  conditions = []
  if config.availability_trace is not None:
    conditions.append(read_trace(config.availability_trace, population=population))
  if config.arrival_rounds or config.stay_rounds:
    rng = np.random.default_rng(seeds.derive(seed, 'availability', 'stay'))
    join = rng.integers(1, max(1, config.arrival_rounds) + 1, population)
    stay = np.ceil(rng.exponential(config.stay_rounds, population)) if config.stay_rounds else np.inf
    conditions.append(Intervals(np.arange(population), join, join + stay, population))
  if config.day_rounds:
    rng = np.random.default_rng(seeds.derive(seed, 'availability', 'zone'))
    conditions.append(DayNight(config.day_rounds, config.day_share, rng.normal(0, _ZONE_SPREAD, population)))
  return conditions


def read_trace(path: str, *, population: int) -> Intervals:
  """Reads when clients are there.

  Args:
    path: CSV with a header and the columns client, join, leave: client's number counted from 0, first round in which
      it is there, first round in which it no longer is (empty if it stays). A client may have several lines; one
      without any is always there.
    population: Number of clients.

  Raises:
    ValueError: The file cannot be read, or one of its lines makes no sense; the sentence names it.
  """
  try:
    with open(path, newline='') as lines:
      reader = csv.DictReader(lines)
      if tuple(reader.fieldnames or ()) != _COLUMNS:
        raise ValueError(f'availability_trace={path} must have the columns {", ".join(_COLUMNS)}; found '
                         f'{", ".join(reader.fieldnames or ()) or "nothing"}.')
      rows = [_interval(row, population, f'availability_trace={path}, line {reader.line_num}') for row in reader]
  except (OSError, UnicodeDecodeError, csv.Error) as error:
    raise ValueError(f'availability_trace={path} cannot be read: {error}.') from error
  if not rows:
    raise ValueError(f'availability_trace={path} holds no line below its header.')
  client, join, leave = (np.array(column) for column in zip(*rows, strict=True))
  return Intervals(client, join, leave, population)


def _interval(row, population, where):
  try:
    if None in row or None in row.values():
      raise ValueError
    client, join = int(row['client']), int(row['join'])
    leave = int(row['leave']) if row['leave'].strip() else np.inf
  except ValueError:
    raise ValueError(f'{where}: client, join and leave must be whole numbers, and leave may be empty; found '
                     f'{list(row.values())}.') from None
  if not 0 <= client < population:
    raise ValueError(f'{where}: there is no client {client} among {population} clients, counted from 0.')
  if leave <= join:
    raise ValueError(f'{where}: client {client} leaves in round {leave} and joins in round {join}, not before.')
  return client, join, leave
