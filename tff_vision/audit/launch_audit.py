"""Does a launch tell who is in the data? Launches of the run again and again, each with one canary or without.

An attacker may launch a run again until it is not refused. If the refusal depends on the data, then the accepted
cohorts depend on the data too, and the refusal itself reveals something. Each launch draws its own secret and stops
before the first round. It is a separate mechanism with the guarantee of the run, and its coin is one more to guess. The
attacker learns what outcomes mean from his own launches, with and without a canary.
"""

import collections
import dataclasses
import math
import secrets
from collections.abc import Callable

import numpy as np

from tff_vision.privacy import plan as plan_lib

LAUNCHES = 256
_REHEARSALS = 256  # Number with a canary, and the same number without.
_ACCEPTED = 'accepted'


def play(plan: plan_lib.PrivacyPlan, first: int, number: int, check: Callable[[plan_lib.PrivacyPlan], None]
         ) -> tuple[np.ndarray, np.ndarray] | None:
  """Returns the scores of launches and their coins; None if all launches end alike or cohorts depend on no secret.

  Args:
    plan: The plan of the run.
    first: The number of the first canary.
    number: Number of canaries; all but one stay away.
    check: Raises ValueError if a launch is refused.
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
