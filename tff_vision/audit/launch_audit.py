"""Does a launch tell who is in the data? Launches of the run again and again, each with one canary or without.

Whoever may launch a run until it is not refused conditions its cohorts on the data, if the refusal has looked at them,
and reads what the refusal says. Each launch draws a secret of its own and stops before the first round: it is a
mechanism of its own whose promise is the run's, and its coin is one more to guess. What outcomes mean, the attacker
learns by launching for himself, with canary and without.
"""

import collections
import dataclasses
import math
import secrets
from collections.abc import Callable

import numpy as np

from tff_vision.privacy import plan as plan_lib

LAUNCHES = 256
_REHEARSALS = 256  # With a canary, and as many without.
_ACCEPTED = 'accepted'


def play(plan: plan_lib.PrivacyPlan, first: int, number: int, check: Callable[[plan_lib.PrivacyPlan], None]
         ) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns the scores of launches and their coins; None if every launch ends alike, or cohorts depend on no secret.

  Args:
    plan: The run's.
    first: The number of the first canary.
    number: Of canaries; but for one they all stay away.
    check: Raises ValueError where a launch is refused.
  """
  sampler = getattr(plan, 'sampler', None)
  if getattr(sampler, 'secret', None) is None or not hasattr(sampler, 'absent'):
    return None

  def outcome(included):
    absent = frozenset(range(first + bool(included), first + number))
    drawn = dataclasses.replace(sampler, secret=secrets.token_bytes(32), absent=absent)
    try:
      check(dataclasses.replace(plan, sampler=drawn))
    except ValueError as refusal:
      return str(refusal)
    return _ACCEPTED

  with_it, without = (collections.Counter(outcome(included) for _ in range(_REHEARSALS)) for included in (True, False))
  if len(with_it | without) == 1:
    return None
  coins = [secrets.randbits(1) for _ in range(LAUNCHES)]
  scores = [math.log((with_it[seen] + 0.5) / (without[seen] + 0.5)) for seen in map(outcome, coins)]
  return np.array(scores), np.array(coins, bool)
