"""Algorithms for the worst client: by hand, and beside implementations in numpy."""

import collections
import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tests.learning import numpy_algorithms
from tests.learning.test_algorithms import close
from tests.learning.tiny_experiments import experiment, hidden, model, oracle, train
from tff_vision import configs
from tff_vision.algorithms import fair, fedbuff


def test_qfedavg(tff_runtime):
  run = experiment('qfedavg', qfedavg_q=2.5).prepare()
  found, average = train(run)[0], model('fedavg')
  close(found, numpy_algorithms.qfedavg(oracle(run), 2.5))
  assert np.abs(found - average).max() > 1e-3
  close(model('qfedavg', qfedavg_q=0.0), average, atol=1e-6)


def test_afl(tff_runtime):
  run = experiment('afl', afl_rate=0.4, weighting=None).prepare()
  expected, shares = numpy_algorithms.afl(oracle(run, 'uniform'), 0.4)
  found, state, _ = train(run)
  close(found, expected)
  close(state.finalizer['algorithm'], shares)
  assert np.ptp(shares) > 0.05, 'clients that all weigh the same show nothing'


def test_a_round_by_hand():
  """Two clients moved by (1, 0) and (0, 2), with losses 1 and 3, at q = 1 and a rate of 1: L = 1.

  Their updates times their losses are (1, 0) and (0, 6); h = |d|^2 + F is 2 and 7. The model moves by the sums' ratio.
  """
  algorithm = fair.QFedAvg(1.0)
  mean = {'update': [tf.constant([0.5, 3.0])], 'curvature': tf.constant(4.5)}
  _, (moved,) = algorithm.step((), mean, None, None)
  np.testing.assert_allclose(moved, [1 / 9, 6 / 9], rtol=1e-6)
  # The same clients in AFL, with shares 1/4 and 3/4 of three clients: the third is absent, and so keeps its share.
  algorithm = fair.Afl(3, rate=0.1)
  mean = collections.OrderedDict(
      update=[tf.constant([0.25 / 2, 1.5 / 2])], share=tf.constant(0.5), loss=tf.constant([0.5, 1.5, 0.0]),
      present=tf.constant([0.5, 0.5, 0.0]))
  shares, (moved,) = algorithm.step(tf.constant([0.25, 0.75, 0.0]), mean, None, None)
  np.testing.assert_allclose(moved, [0.25, 1.5], rtol=1e-6)
  np.testing.assert_allclose(shares, [0.15, 0.85, 0.0], atol=1e-6)  # (0.35, 1.05, 0) less 0.2 of those above 0.


def test_the_nearest_point_of_the_simplex():
  rng = np.random.default_rng(1)
  for length in (1, 2, 7):
    for scale in (0.01, 1, 30):
      point = rng.normal(0, scale, length)
      found = fair.on_simplex(tf.constant(point)).numpy()
      np.testing.assert_allclose(found, numpy_algorithms.nearest_on_simplex(point), atol=1e-9)
      assert found.sum() == pytest.approx(1) and found.min() >= 0
  np.testing.assert_allclose(fair.on_simplex(tf.constant([0.2, 0.3, 0.5])), [0.2, 0.3, 0.5], atol=1e-7)
  for large in (1e5, 1e9, 1e30):  # Differences that float32 has nothing left of beside a large number.
    np.testing.assert_array_equal(fair.on_simplex(tf.constant([1, 2, 2], tf.float32) * large), [0, 0.5, 0.5])


@pytest.mark.ci
def test_qfedavg_under_a_secure_sum(tff_runtime, tmp_path):
  found = train(experiment('qfedavg', secure=hidden('masks', tmp_path)).prepare())[0]
  close(found, model('qfedavg'), atol=2e-3)


@pytest.mark.parametrize(('algorithm', 'sections', 'match'), [
    ('afl', {'secure': configs.SecureConfig(secure_sum='masks')}, 'the loss of every single client'),
    ('qfedavg', {'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1, noise_multiplier=1),
                 'cohort': configs.CohortConfig(sampling='poisson')}, 'a second quantity'),
    ('qfedavg', {'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1, noise_multiplier=1)},
     'covers no losses'),
    ('qfedavg', {'aggregation': configs.AggregationConfig(aggregator='median')}, 'divided by'),
    ('afl', {'aggregation': configs.AggregationConfig(compression='uniform')}, 'divided by'),
    ('qfedavg', {'attack': configs.AttackConfig(attack='sign_flip')}, 'divided by'),
    ('qfedavg', {'client': configs.ClientConfig(client_optimizer='adam')}, 'defined for sgd')])
def test_what_does_not_go_with_them_is_refused_in_a_sentence(algorithm, sections, match):
  with pytest.raises(ValueError, match=match):
    configs.ExperimentConfig(algorithm=configs.AlgorithmConfig(algorithm=algorithm), **sections)


@pytest.mark.parametrize(('fields', 'match'), [
    ({'algorithm': 'afl', 'client_weighting': 'examples'}, 'its own shares'),
    ({'algorithm': 'qfedavg', 'qfedavg_q': -1.0}, 'qfedavg_q'), ({'algorithm': 'afl', 'afl_rate': 0.0}, 'afl_rate'),
    ({'algorithm': 'qfedavg', 'qfedavg_q': 100.0}, 'qfedavg_q must be at most 20, found 100.0'),
    ({'algorithm': 'afl', 'afl_rate': 1e30}, 'afl_rate must be at most'),
    ({'qfedavg_q': 2.0}, 'no effect with algorithm=fedavg')])
def test_their_settings_are_checked(fields, match):
  with pytest.raises(ValueError, match=match):
    configs.AlgorithmConfig(**fields)


def test_a_process_for_other_clients_is_not_shared(tff_runtime):
  built = experiment('afl', sizes=(3, 4, 5), weighting=None).prepare()
  with pytest.raises(ValueError, match='another number of clients'):
    experiment('afl', sizes=(3, 4), weighting=None).prepare(like=built)


@pytest.mark.parametrize(('kind', 'name', 'settings'), [
    (fair.Afl, 'afl', (4, 0.1)), pytest.param(fedbuff.FedBuff, 'fedbuff', (4,), marks=pytest.mark.ci)])
def test_a_subclass_of_ones_own_gets_what_clients_bring(tff_runtime, kind, name, settings):
  """What comes with a client's data follows from the class and not from a name."""
  class Own(kind):
    pass

  named = experiment(name, sizes=(3, 4, 5, 6), weighting=None)
  own = dataclasses.replace(named, algorithm=configs.AlgorithmConfig(
      algorithm=Own(*settings), client_weighting='uniform' if name == 'afl' else None))
  trainers = [one.prepare() for one in (own, named)]
  cohorts = [trainers[1].plan.cohort(round_num) for round_num in (1, 2)]
  found, expected = (train(trainer, cohorts)[0] for trainer in trainers)
  np.testing.assert_array_equal(found, expected)
