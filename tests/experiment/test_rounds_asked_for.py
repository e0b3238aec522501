"""Rounds and cohorts that a program asks for: what there is not is refused, and no client counts twice."""

import numpy as np
import pytest

import tff_vision as tv
from tff_vision import configs

NOISED = {'clip_norm': 1.0, 'noise_multiplier': 1.0, 'delta': 1e-3}
BANDED = {'privacy': tv.MatrixFactorization(strategy='banded', **NOISED), 'participation': tv.RoundRobin(2)}
BUFFERED = {**BANDED, 'privacy': tv.MatrixFactorization(**NOISED)}
GAUSSIAN = {'privacy': tv.ClientGaussian(**NOISED), 'participation': tv.Poisson(2)}


def experiment(**parts):
  return tv.Experiment(tv.Task(tv.testing.tiny_images(), model='linear'), rounds=2, client=tv.Client(epochs=1),
                       **{'participation': tv.Fixed(2), **parts})


@pytest.mark.parametrize('parts', [{}, GAUSSIAN])
def test_cohorts_with_a_client_twice_or_none_are_refused(parts):
  with tv.open_runtime() as place:
    training = experiment(**parts).prepare(place)
    state = training.begin()
    for cohort, said in (([0, 1, 0], 'cohort holds a client more than once: 0, 1, 0'), ([4], '0..3; found 4'),
                         ([-1], 'found -1'), (['c0'], "found 'c0'"), ([0.5], 'found 0.5')):
      with pytest.raises(ValueError, match=said):
        training.next(state, 1, cohort)
    for round_num in (0, -1, 1.5, '1'):
      with pytest.raises(ValueError, match='round_num must be'):
        training.next(state, round_num, [0, 1])
    assert training.next(state, 1, [3, 1]).state is not None


@pytest.mark.parametrize('parts', [BANDED, BUFFERED, GAUSSIAN])
def test_no_rounds_cost_nothing_and_rounds_that_are_none_are_refused(parts):
  made = experiment(**parts)
  assert made.ledger(0).epsilon == 0 < made.ledger(1).epsilon <= made.ledger(2).epsilon
  for rounds in (-1, 1.5, '2', True):
    with pytest.raises(ValueError, match='rounds must be'):
      made.ledger(rounds)


@pytest.mark.parametrize('parts', [BANDED, BUFFERED])
def test_correlated_noise_has_no_cost_beyond_its_rounds(parts):
  with pytest.raises(ValueError, match='correlated noise was made for 2 rounds, so that nobody knows what 3'):
    experiment(**parts).ledger(3)


@pytest.mark.parametrize('parts', [
    {'attack': configs.AttackConfig(attack='label_flip', attack_fraction=0.5)},
    {'attack': configs.AttackConfig(attack='sign_flip', attack_fraction=0.5)}, {'algorithm': 'afl'},
    {'algorithm': 'fedbuff', 'participation': configs.CohortConfig(cohort_size=2, over_selection=2.0)}],
    ids=['label_flip', 'sign_flip', 'afl', 'fedbuff'])
def test_other_images_come_with_all_that_the_process_is_given_beside_them(parts):
  with tv.open_runtime() as place:
    training = experiment(**{'participation': tv.Fixed(4), **parts}).prepare(place)
    state = training.begin()
    own, given = (one.weights(one.next(state, 1).state).trainable
                  for one in (training, training.with_images(tv.testing.tiny_images())))
  for one, other in zip(own, given, strict=True):
    np.testing.assert_array_equal(one, other)
