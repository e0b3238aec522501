"""Successive halving and the Parzen estimator: rounds and survivors by hand, and searches that must beat chance."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tff_vision.program import halving, sweep_cells, tpe


def test_rungs_and_rounds_by_hand():
  assert halving.rungs(9, rounds=27, factor=3, step=1) == [3, 9, 27]
  # 9 cells train 3 rounds, 3 of them 6 more, 1 of them 18 more.
  assert halving.total_rounds(9, rungs=[3, 9, 27], factor=3) == 27 + 18 + 18
  assert halving.rungs(9, rounds=27, factor=3, step=4) == [4, 12, 27]
  assert halving.rungs(3, rounds=27, factor=3, step=1) == [9, 27]
  assert halving.rungs(2, rounds=9, factor=3, step=1) == [9]
  assert halving.rungs(1, rounds=9, factor=3, step=1) == [9] and halving.rungs(9, rounds=20, factor=3, step=20) == [20]
  assert halving.survivors({'a': 0.1, 'b': math.nan, 'c': 0.3, 'd': -math.inf, 'e': 0.3}, factor=3) == ['c', 'e']


@given(cells=st.integers(1, 300), rounds=st.integers(1, 500), factor=st.integers(2, 5), step=st.integers(1, 40))
def test_halving_never_costs_more_than_all_cells_and_keeps_the_best(cells, rounds, factor, step):
  rungs = halving.rungs(cells, rounds=rounds, factor=factor, step=step)
  assert rungs == sorted(set(rungs)) and rungs[-1] == rounds and all(number % step == 0 for number in rungs[:-1])
  assert rounds <= halving.total_rounds(cells, rungs=rungs, factor=factor) <= cells * rounds
  goodness = {str(i): float(i) for i in range(cells)}
  for _ in rungs[1:]:
    kept = halving.survivors(goodness, factor=factor)
    assert kept[0] == str(cells - 1) and len(kept) == math.ceil(len(goodness) / factor)
    goodness = {name: goodness[name] for name in kept}


GRID = {'rate': sweep_cells.Range(low=1e-3, high=10.0, whole=False),
        'epochs': sweep_cells.Range(low=1, high=9, whole=True), 'model': ['mlp', 'cnn', 'linear']}


def goodness(settings):
  """Is best at a rate of 0.1, 4 epochs, cnn."""
  return (-(math.log10(settings['rate']) + 1) ** 2 - ((settings['epochs'] - 4) / 4) ** 2 -
          {'cnn': 0.0, 'mlp': 0.7, 'linear': 1.5}[settings['model']])


def searched(seed, number, propose):
  rng, tried = np.random.default_rng(seed), []
  for _ in range(number):
    settings = propose(tried, rng)
    tried.append((settings, goodness(settings)))
  return tried


def test_proposals_are_legal_new_repeatable_and_better_than_chance():
  by_result = [searched(seed, 30, lambda tried, rng: tpe.propose(GRID, tried, rng)) for seed in range(12)]
  # Without results, a proposal is a random draw.
  by_chance = [searched(seed, 30, lambda tried, rng: tpe.propose(GRID, [], rng)) for seed in range(12)]
  assert by_result[3] == searched(3, 30, lambda tried, rng: tpe.propose(GRID, tried, rng))
  for tried in by_result:
    assert len({tuple(settings.values()) for settings, _ in tried}) == 30
    assert all(1e-3 <= one['rate'] <= 10 and one['epochs'] in range(1, 10) and one['model'] in GRID['model']
               for one, _ in tried)
  best = lambda runs: [max(value for _, value in tried) for tried in runs]
  later = lambda runs: np.mean([value for tried in runs for _, value in tried[10:]])
  assert np.median(best(by_result)) > np.median(best(by_chance)) and later(by_result) > later(by_chance) + 0.5


def test_a_small_grid_is_used_up_and_failed_cells_are_left_alone():
  grid, tried, rng = {'model': ['mlp', 'cnn'], 'epochs': [1, 2]}, [], np.random.default_rng(0)
  while (settings := tpe.propose(grid, tried, rng)) is not None:
    tried.append((settings, -math.inf))
  assert len(tried) == 4
  # Every cell of one kind has failed: the rest of the search is of the other kind, mostly.
  grid = {'rate': sweep_cells.Range(low=0.01, high=1.0, whole=False), 'model': ['good', 'bad']}
  tried = [({'rate': 0.01 * 1.2**i, 'model': 'bad' if i % 2 else 'good'}, math.nan if i % 2 else 0.5 + 0.01 * i)
           for i in range(20)]
  assert sum(tpe.propose(grid, tried, np.random.default_rng(seed))['model'] == 'good' for seed in range(20)) >= 18


@pytest.mark.parametrize('whole', [True, False])
def test_a_density_integrates_to_one(whole):
  values = sweep_cells.Range(low=1, high=1000, whole=whole)
  of = tpe._density(values, [10, 20, 700]).of
  at = [tpe._at(values, place) for place in np.linspace(0.001, 0.999, 1500)]
  # Bumps reach over the ends of the range.
  assert 0.6 < np.mean([of(value) for value in at]) <= 1.01
