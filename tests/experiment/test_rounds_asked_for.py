"""Rounds and cohorts that a program asks for: what there is not is refused, and no client counts twice."""

import dataclasses

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


def other_images(*sizes):
  """Returns images of the kind of `tiny_images`, of clients with these numbers of examples."""
  rng = np.random.default_rng(5)
  part = lambda count: (rng.integers(0, 256, (count, 8, 8), np.uint8), np.arange(count) % 3)
  return tv.data.from_arrays({f'k{number}': part(size) for number, size in enumerate(sizes)}, test=part(9))


def two_rounds(training):
  state = training.begin()
  for round_num in (1, 2):
    state = training.next(state, round_num).state
  return [*training.weights(state).trainable, training.evaluate(state)['evaluation']['loss']]


@pytest.mark.parametrize('parts', [
    {}, {'algorithm': 'ditto'}, {'algorithm': 'ifca'}, {'aggregator': configs.AggregationConfig(
        compression='top_k', top_k_fraction=0.5)}], ids=['fedavg', 'ditto', 'ifca', 'top_k'])
@pytest.mark.parametrize('sizes', [(12, 5, 14, 9), (3, 7, 20, 6, 5, 8)], ids=str)
def test_other_clients_train_as_those_of_an_experiment_on_their_images(parts, sizes):
  found = other_images(*sizes)
  with tv.open_runtime() as place:
    training = experiment(**{'participation': tv.Fixed(3), **parts}).prepare(place)
    two_rounds(training)  # What its clients keep must not come to others.
    given = two_rounds(training.with_images(found))
    own = two_rounds(dataclasses.replace(training.made, task=tv.Task(found, model=training.made.task.model)
                                         ).prepare(place))
  for one, other in zip(own, given, strict=True):
    np.testing.assert_array_equal(one, other)


def test_fewer_clients_than_a_cohort_has_all_take_part():
  with tv.open_runtime() as place:
    training = experiment(participation=tv.Fixed(4)).prepare(place).with_images(other_images(5, 8))
    state = training.begin()
    drawn, named = (training.weights(training.next(state, 1, cohort).state).trainable for cohort in (None, [0, 1]))
  np.testing.assert_array_equal(drawn[0], named[0])


@pytest.mark.parametrize(('algorithm', 'sizes', 'said'), [
    ('scaffold', (12, 5, 14, 10), "numbers of the clients' examples"), ('feddyn', (12, 5, 14), 'of the clients'),
    ('afl', (12, 5, 14, 5, 4), 'another number of clients')])
def test_images_of_other_numbers_are_refused_where_the_process_counts_on_them(algorithm, sizes, said):
  with tv.open_runtime() as place:
    training = experiment(algorithm=algorithm, participation=tv.Fixed(3)).prepare(place)
    with pytest.raises(ValueError, match=f'with_images: .*{said}'):
      training.with_images(other_images(*sizes))


def test_data_of_ones_own_come_with_what_clients_keep():
  class Data:
    def __init__(self, task):
      self.task = task

    def request(self, client, number):
      return self.task.client_element(client, number)

  with tv.open_runtime() as place:
    own, given = (experiment(algorithm='scaffold', participation=tv.Fixed(3)).prepare(place) for _ in range(2))
    for one, other in zip(two_rounds(own), two_rounds(given.with_data(Data(given.task))), strict=True):
      np.testing.assert_array_equal(one, other)
