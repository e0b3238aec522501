"""Which clients can be reached in a round: pure functions of (seed, round)."""

import csv
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tff_vision import configs, seeds

Availability = Callable[[int], np.ndarray]
"""Given the round's number, counted from 1, returns [population] bool."""

_COLUMNS = ('client', 'join', 'leave')
# Clients live in different time zones; this is the standard deviation of their offsets, as a fraction of a day.
_ZONE_SPREAD = 0.08


@dataclasses.dataclass(frozen=True)
class Intervals:
  """Availability of clients that join and leave.

  Attributes:
    client: [intervals] client numbers; a client may have several intervals.
    join: [intervals] first round in which the client is available.
    leave: [intervals] first round in which it is no longer available; infinity if it stays.
    population: Number of clients; a client without an interval is always available.
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
  """Daily availability: a client is available for `share` of each day of `rounds` rounds; most share the same night.

  Attributes:
    phase: [population] the time of day of each client in round 0, as a fraction of the day.
  """
  rounds: int
  share: float
  phase: np.ndarray

  def __call__(self, round_num: int) -> np.ndarray:
    return (round_num / self.rounds + self.phase) % 1 < self.share


def build(config: configs.CohortConfig, *, population: int, seed: int) -> Sequence[Availability]:
  """Returns the availability conditions that `config` names; a client is available if all of them hold.

  Raises:
    ValueError: The trace file is missing or invalid.
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
  """Reads the times at which clients are available.

  Args:
    path: CSV with a header and the columns client, join, leave: the client's number counted from 0, the first round in
      which it is available, the first round in which it is no longer available (empty if it stays). A client may have
      several lines; a client without a line is always available.
    population: Number of clients.

  Raises:
    ValueError: The file cannot be read, or one of its lines is invalid; the message names it.
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
