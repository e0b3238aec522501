"""Attackers of one run: each reads something else of what was released, and scores who seems to be in the data.

| observer | who it stands for | what it reads |
| --- | --- | --- |
| `models` | a reader of every model | how far each round moved the weights in a canary's direction |
| `grid` | the same reader, who knows all other clients' updates | released integers that float32 noise cannot give |
| `repeats` | the same reader, who keeps models released twice | the difference of two models of one round |
| `told` | the server, if the guarantee is against it | how many examples clients report with their updates |
| `answers` | a reader of the network traffic | every answer of a worker, including answers to repeated calls |
| `launches` | a person who launches the run and sees it refused | see `launch_audit` |

The guarantee allows an observer to know the cohorts if attendance is public, and otherwise the sampling rates. Only the
order of the scores counts: a bad score makes an audit weak, never false.
"""

import collections
import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from tff_vision.audit import observed

_CERTAIN = 4.6  # Logarithm of the odds from one impossible coordinate: 99 to 1.
_MOST = 50.0
_RIDGE = 0.1
_LEAST_NOISE = 1e-3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setting:
  """What everybody knows of a run.

  Attributes:
    turns: Function from a round to [canaries] bool: which canaries may take part in the round.
    rate: Probability with which these canaries take part; 1 if attendance is public.
    noise: Standard deviation of the white noise divided by the clip norm.
    client_of: For each canary, the client that it is, or the client that holds it as an example.
    opposite: Whether a canary that is not in the data sends the opposite direction and each client adds its own noise.
    coefficients: First column of the matrix of correlated noise, see `privacy.matrix`; (1,) for independent noise.
    examples: Whether canaries are examples; their clients take several steps.
  """
  turns: Callable[[int], np.ndarray]
  rate: float
  noise: float
  client_of: np.ndarray
  opposite: bool = False
  coefficients: tuple[float, ...] = (1.0,)
  examples: bool = False


Releases = Sequence[observed.Release]


def models(setting: Setting, releases: Releases) -> np.ndarray | None:
  """Returns the log likelihood ratio of each canary, from all models; approximate for examples and unknown scales."""
  rows = [release for release in releases if release.members is None]
  if not rows:
    return None
  if setting.examples:
    return _added_up(setting, [(setting.turns(row.round_num), row.shift) for row in rows])
  noise = max(setting.noise, _LEAST_NOISE)
  if setting.opposite:
    return sum(setting.turns(row.round_num) * row.shift / row.clients for row in rows if row.clients) / noise ** 2
  shifts = [row.shift if row.scaled else noise * row.shift / _spread(row.shift) for row in rows]
  if len(setting.coefficients) > 1:  # Later noise is correlated with the last output of a round.
    last = {row.round_num: shift for row, shift in zip(rows, shifts, strict=True)}
    numbers, shifts = zip(*sorted(last.items()), strict=True)
    ratios = _matched(np.array(shifts), setting.coefficients, noise)
  else:
    numbers, ratios = [row.round_num for row in rows], [(2 * shift - 1) / (2 * noise ** 2) for shift in shifts]
  return sum(_of_round(setting, number, ratio) for number, ratio in zip(numbers, ratios, strict=True))


def grid(setting: Setting, releases: Releases) -> np.ndarray | None:
  """Returns the evidence in the released integers against each canary's absence, minus that against its presence."""
  rows = [release for release in releases if release.contradictions is not None]
  if not rows:
    return None
  return sum(_of_round(setting, row.round_num, np.clip(_CERTAIN * row.contradictions, -_MOST, _MOST)) for row in rows)


def repeats(setting: Setting, releases: Releases) -> np.ndarray | None:
  """Returns the distance of two models of one round in each canary's direction; without noise it is zero or one."""
  del setting
  by_round = collections.defaultdict(list)
  for release in releases:
    if release.members is None:
      by_round[release.round_num].append(release.shift)
  apart = [np.abs(shift - shifts[0]) for shifts in by_round.values() for shift in shifts[1:]]
  return np.max(apart, axis=0) if apart else None


def told(setting: Setting, releases: Releases) -> np.ndarray | None:
  """Returns the least-squares solution for the coins, from the reported number of examples of each round.

  Returns None if attendance is not public.
  """
  rows = [release for release in releases if release.told is not None]
  if not rows or setting.rate < 1:
    return None
  turns = np.array([setting.turns(row.round_num) for row in rows], float)
  rest = np.array([row.told for row in rows]) - turns.sum(1) / 2
  return turns.T @ np.linalg.solve(turns @ turns.T + _RIDGE * np.eye(len(rows)), rest)


def answers(setting: Setting, releases: Releases) -> np.ndarray | None:
  """Returns, for each canary, the sum over workers' answers of its shift divided by the spread of the shifts."""
  rows = [release for release in releases if release.members is not None]
  if not rows:
    return None
  return _added_up(setting, [(np.isin(setting.client_of, row.members), row.shift) for row in rows])


OBSERVERS: dict[str, Callable[[Setting, Releases], np.ndarray | None]] = {
    'models': models, 'grid': grid, 'repeats': repeats, 'told': told, 'answers': answers}


def _of_round(setting, round_num, ratio):
  """Returns the log likelihood ratio of a round in which a canary, if it is in the data, takes part with the rate."""
  if setting.rate < 1:
    ratio = np.logaddexp(np.log1p(-setting.rate), np.log(setting.rate) + ratio)
  return np.where(setting.turns(round_num), ratio, 0.0)


def _matched(shifts, coefficients, noise):
  """Returns [rounds, canaries], the log likelihood ratio of taking part in each round, under correlated noise.

  C times the releases is C times the updates plus white noise. Taking part in round t adds column t of C.
  """
  rounds = len(shifts)
  column = np.zeros(rounds)
  column[:min(rounds, len(coefficients))] = coefficients[:rounds]
  matrix = np.array([[column[row - col] if row >= col else 0.0 for col in range(rounds)] for row in range(rounds)])
  return (2 * matrix.T @ (matrix @ shifts) - (matrix ** 2).sum(0)[:, np.newaxis]) / (2 * noise ** 2)


def _added_up(setting, rows):
  total = None
  for there, shift in rows:
    if not there.any():
      continue
    part = np.zeros(len(shift))
    groups = setting.client_of if setting.examples else np.zeros(len(shift), int)
    for group in np.unique(groups[there]):  # Noise, and so the weight of a canary, differs by client.
      chosen = there & (groups == group)
      part[chosen] = shift[chosen] / _spread(shift[chosen])
    total = part if total is None else total + part
  return total


def _spread(values):
  """Returns the standard deviation, estimated by the median distance from the median: robust to a few canaries."""
  return max(1.4826 * float(np.median(np.abs(values - np.median(values)))), 1e-30)
