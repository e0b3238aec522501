"""Semi-synchronous training: late updates count in a later round.

The clock of FedBuff (Nguyen et al., AISTATS 2022): at most over_selection x cohort_size clients train
at a time; the server steps as soon as cohort_size updates have arrived, or at the deadline; those that are still
training go on with the model they have, and nobody asks them again before they have delivered. Rounds are simulated
one after the other, each a pure function of the seed and of the rounds before it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision.participation import device_rounds


@dataclasses.dataclass(frozen=True)
class _Update:
  """One that is on its way: when it arrives, whose it is, in which round its client began."""
  arrives: float
  client: int
  begun: int


@dataclasses.dataclass(frozen=True)
class _Round:
  """One round.

  Attributes:
    taken: Updates that it takes.
    lost: How many updates arrived too late to count, or will never arrive, of those asked in this round.
    closes: When, on the clock of the run.
    waiting: Updates that are still on their way.
  """
  attendance: device_rounds.Attendance
  taken: Sequence[_Update]
  lost: int
  closes: float
  waiting: Sequence[_Update]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateArrivals(device_rounds.Participation):
  """Attributes: `max_staleness`: an update that began more rounds ago is lost."""
  max_staleness: int
  _rounds: list[_Round] = dataclasses.field(default_factory=list, compare=False, repr=False)

  def attendance(self, round_num: int) -> device_rounds.Attendance:
    """Returns who is there, asked and begins in round `round_num`, and whose update it takes, late ones included."""
    return self._round(round_num).attendance

  def begun(self, round_num: int) -> Mapping[int, int]:
    """Returns, for each client whose update round `round_num` takes, the round in which it began."""
    return {update.client: update.begun for update in self._round(round_num).taken}

  def counts(self, round_num: int) -> Mapping[str, int]:
    found = self._round(round_num)
    steps = found.attendance
    return {'available': len(steps.available), 'selected': len(steps.selected), 'started': len(steps.started),
            'reported': len(steps.reported), 'late': sum(update.begun < round_num for update in found.taken),
            'waiting': len(found.waiting), 'dropped': found.lost}

  def _round(self, round_num):
    while len(self._rounds) < round_num:
      before = self._rounds[-1] if self._rounds else None
      self._rounds.append(self._next(len(self._rounds) + 1, before.closes if before else 0.0,
                                     before.waiting if before else ()))
    return self._rounds[round_num - 1]

  def _next(self, round_num, opens, waiting):
    places = math.ceil(self.config.cohort_size * self.config.over_selection) - len(waiting)
    available, selected, started, delivering = self.begin(
        round_num, places=places, busy=[update.client for update in waiting])
    times = self.times(round_num)
    waiting = sorted([*waiting, *(_Update(opens + times[i], int(i), round_num) for i in delivering)],
                     key=lambda update: (update.arrives, update.client))
    arrived, closes = self._close(opens, waiting)
    taken = [update for update in arrived if round_num - update.begun <= self.max_staleness]
    taken = taken[:len(self.sizes.delivered(np.arange(len(taken))))]  # Some rounds take nobody's.
    attendance = device_rounds.Attendance(available, selected, started,
                                          np.sort(np.array([update.client for update in taken], np.int64)))
    lost = len(selected) - len(delivering) + len(arrived) - len(taken)
    return _Round(attendance, taken, lost, closes, waiting[len(arrived):])

  def _close(self, opens, waiting):
    """Returns the updates that arrive before the round closes, and when that is."""
    buffer = self.config.cohort_size if self.config.over_selection > 1 else len(waiting)
    buffer = min(buffer, self.sizes.most or buffer)
    arrived = waiting[:buffer]
    closes = arrived[-1].arrives if arrived else opens
    if self.config.round_deadline is None:
      return arrived, closes
    deadline = opens + self.config.round_deadline
    arrived = [update for update in arrived if update.arrives <= deadline]
    return arrived, closes if len(arrived) == buffer and arrived else deadline
