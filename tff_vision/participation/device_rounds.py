"""Simulates devices in a round: who is available, selected, starts, and delivers in time.

The steps are those of production systems (Bonawitz et al. 2019, "Towards Federated Learning at Scale",
arXiv:1902.01046, sections 2 and 9): more clients are selected than are needed, and a round closes when enough clients
have delivered or the deadline has passed. The whole simulation is a pure function of (seed, round).
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from tff_vision import configs, seeds
from tff_vision.accounting import cohort_sizes
from tff_vision.participation import availability

# The speed of a device varies: standard deviation of the logarithm of its time from round to round.
_JITTER = 0.2


@dataclasses.dataclass(frozen=True)
class Attendance:
  """Attendance in one round; each array has sorted client numbers and is a subset of the previous array.

  Attributes:
    available: Clients that could be reached.
    selected: Clients that were asked to train.
    started: Clients that started to train.
    reported: Clients whose update the round used. The work of the other clients that started is lost.
  """
  available: np.ndarray
  selected: np.ndarray
  started: np.ndarray
  reported: np.ndarray


@dataclasses.dataclass(frozen=True, kw_only=True)
class Participation:
  """Cohorts of simulated devices that join and leave.

  Attributes:
    config: The simulation settings.
    conditions: A client is available if all of them hold; `availability.build` puts the trace's condition first.
    sampler_of: Maps (population, cohort size, seed) to the sampler that `config.sampling` names; the sampler draws from
      the available clients.
    population: Number of clients.
    seed: The seed of the cohorts.
    sizes: The allowed cohort sizes: a round closes when it has the most clients, and uses no update if it has too few.
  """
  config: configs.CohortConfig
  conditions: Sequence[availability.Availability]
  sampler_of: Callable[[int, int, int], Callable[[int], np.ndarray]]
  population: int
  seed: int
  sizes: cohort_sizes.Sizes = cohort_sizes.Sizes()

  def __call__(self, round_num: int) -> np.ndarray:
    """Returns the sorted indices of the clients whose updates are used in round `round_num`; may be empty."""
    return self.attendance(round_num).reported

  def attendance(self, round_num: int) -> Attendance:
    """Returns the clients that are available, selected, start and deliver in round `round_num`."""
    places = math.ceil(self.config.cohort_size * self.config.over_selection)
    available, selected, started, delivering = self.begin(round_num, places=places, busy=())
    return Attendance(available, selected, started, self._in_time(delivering, round_num))

  def begin(self, round_num: int, *, places: int, busy: Sequence[int]) -> tuple[np.ndarray, ...]:
    """Returns the clients that are available and not busy, are selected, start, and will deliver at some time.

    Args:
      places: Number of clients to select.
      busy: Clients that cannot be selected.
    """
    there = np.ones(self.population, bool)
    for condition in self.conditions:
      there &= condition(round_num)
    there[list(busy)] = False
    available = np.flatnonzero(there)
    asked = max(0, min(places, len(available)))
    selected = available[:0]
    if asked:
      selected = available[self.sampler_of(len(available), asked, self.seed)(round_num)]
    # One coin for each client, not only for selected clients: a client's dropout does not depend on other clients.
    begins, delivers = (self._stream(name, round_num).random(self.population) >= probability for name, probability
                        in (('before', self.config.dropout_before), ('after', self.config.dropout_after)))
    started = selected[begins[selected]]
    return available, selected, started, started[delivers[started]]

  def scheduled(self, round_num: int) -> int | None:
    """Returns the number of clients that the availability trace has in a round (not random); None without a trace."""
    if self.config.availability_trace is None:
      return None
    return int(np.count_nonzero(self.conditions[0](round_num)))

  def counts(self, round_num: int) -> Mapping[str, int]:
    """Returns the number of clients at each stage of a round, and of selected clients that dropped out."""
    steps = self.attendance(round_num)
    return {'available': len(steps.available), 'selected': len(steps.selected), 'started': len(steps.started),
            'reported': len(steps.reported), 'dropped': len(steps.selected) - len(steps.reported)}

  def _in_time(self, delivering, round_num):
    """Returns the clients that deliver before the round closes: after cohort_size updates or at the deadline."""
    times = self.times(round_num)[delivering]
    if self.config.round_deadline is not None:
      delivering, times = (array[times <= self.config.round_deadline] for array in (delivering, times))
    delivering = delivering[np.argsort(times, kind='stable')]
    if self.config.over_selection > 1:
      delivering = delivering[:self.config.cohort_size]
    return np.sort(self.sizes.delivered(delivering))

  def times(self, round_num):
    """Returns [population] times to train and deliver; the median client needs time 1."""
    own = self._stream('speed').normal(0, self.config.speed_spread, self.population)
    return np.exp(own + self._stream('jitter', round_num).normal(0, _JITTER, self.population))

  def _stream(self, *path):
    return np.random.default_rng(seeds.derive(self.seed, 'participation', *path))
