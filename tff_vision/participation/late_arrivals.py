"""Semi-synchronous training: late updates count in a later round.

The timing follows FedBuff (Nguyen et al., AISTATS 2022). At most over_selection x cohort_size clients train at a time.
The server makes a step as soon as cohort_size updates have arrived, or at the deadline. Clients that are still training
continue with their model, and are not selected again before they have delivered. Rounds are simulated one after the
other; each is a pure function of the seed and of the rounds before it.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

from tff_vision.participation import device_rounds


@dataclasses.dataclass(frozen=True)
class _Update:
  """An update in transit: its arrival time, its client, and the round in which the client started."""
  arrives: float
  client: int
  begun: int


@dataclasses.dataclass(frozen=True)
class _Round:
  """One round.

  Attributes:
    taken: The updates that the round uses.
    lost: The number of updates that arrived too late to count, plus those of this round's selected clients that will
      never arrive.
    closes: The closing time, on the clock of the run.
    waiting: Updates that are still in transit.
  """
  attendance: device_rounds.Attendance
  taken: Sequence[_Update]
  lost: int
  closes: float
  waiting: Sequence[_Update]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LateArrivals(device_rounds.Participation):
  """Attributes: `max_staleness`: an update whose client started more than this many rounds ago is lost."""
  max_staleness: int
  _rounds: list[_Round] = dataclasses.field(default_factory=list, compare=False, repr=False)

  def attendance(self, round_num: int) -> device_rounds.Attendance:
    """Returns the attendance of round `round_num`; reported clients include those with late updates that it uses."""
    return self._round(round_num).attendance

  def begun(self, round_num: int) -> Mapping[int, int]:
    """Returns, for each client whose update round `round_num` uses, the round in which the client started."""
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
    taken = taken[:len(self.sizes.delivered(np.arange(len(taken))))]  # Some rounds use no update.
    attendance = device_rounds.Attendance(available, selected, started,
                                          np.sort(np.array([update.client for update in taken], np.int64)))
    lost = len(selected) - len(delivering) + len(arrived) - len(taken)
    return _Round(attendance, taken, lost, closes, waiting[len(arrived):])

  def _close(self, opens, waiting):
    """Returns the updates that arrive before the round closes, and its closing time."""
    buffer = self.config.cohort_size if self.config.over_selection > 1 else len(waiting)
    buffer = min(buffer, self.sizes.most or buffer)
    arrived = waiting[:buffer]
    closes = arrived[-1].arrives if arrived else opens
    if self.config.round_deadline is None:
      return arrived, closes
    deadline = opens + self.config.round_deadline
    arrived = [update for update in arrived if update.arrives <= deadline]
    return arrived, closes if len(arrived) == buffer and arrived else deadline
