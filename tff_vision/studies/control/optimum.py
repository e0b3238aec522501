"""The optimal policy of an environment, by backward induction over ball and paddle."""

import numpy as np

from tff_vision.studies.control import catch


def best_catch_rate(environment: catch.Environment) -> float:
  """Returns the largest probability of catching a ball, over all policies that see ball and paddle exactly."""
  places = catch.SIDE - environment.width + 1
  columns, paddles = np.arange(catch.SIDE), np.arange(places)
  # value[column, paddle] of the state after the ball has landed, then of one row higher at a time.
  value = ((columns[:, None] >= paddles) & (columns[:, None] < paddles + environment.width)).astype(float)
  blown = np.clip(columns + int(np.sign(environment.wind)), 0, catch.SIDE - 1)
  gust = abs(environment.wind)
  for _ in range(catch.STEPS):
    expected = (1 - gust) * value + gust * value[blown]
    value = np.max([expected[:, np.clip(paddles + move, 0, places - 1)] for move in (-1, 0, 1)], axis=0)
  return float(value.mean())
