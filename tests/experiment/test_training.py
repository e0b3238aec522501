"""Rounds one call at a time: the weights of a run, one process for several trainings, work that is not of images."""

import collections
import dataclasses
import gc
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tests import tiny
from tff_vision import configs, told
from tff_vision.experiment import sharing
from tff_vision.learning import local_training


def made(**parts):
  fields = {'participation': tv.Fixed(3), 'client': tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), 'rounds': 2,
            'rounds_per_evaluation': 1, 'seed': 4}
  task = parts.pop('task', None) or tv.Task(tiny.federated_images(), model='linear')
  return tv.Experiment(task, **(fields | parts))


def trained(training, cohorts=(None, None)):
  """Returns the model after a round of each cohort, and the state."""
  state = training.begin()
  for round_num, cohort in enumerate(cohorts, start=1):
    state = training.next(state, round_num, cohort).state
  return [np.asarray(weight) for weight in training.weights(state).trainable], state


def same(one, other):
  return all(np.array_equal(*pair) for pair in zip(one, other, strict=True))


def test_rounds_by_hand_are_those_of_a_run_and_share_their_process(tff_runtime, tmp_path):
  first = made(algorithm='scaffold')
  training = first.prepare(tff_runtime, client_states=tmp_path / 'states')
  weights, state = trained(training)
  run = first.run(tmp_path / 'run')
  assert same(weights, run.model.get_weights()) and training.evaluate(state)['evaluation'] == run.evaluation
  assert training.rounds == 2 and training.population == 4 and training.secure_sum['mode'] == 'none'
  # Another seed, other images and cohorts, the same process; what clients keep lies apart.
  images = tiny.federated_images(seed=9)
  other = made(algorithm='scaffold', task=tv.Task(images, model='linear'), seed=5, participation=tv.Fixed(2))
  shared = other.prepare(tff_runtime, like=training)
  assert shared.parts.bare is training.parts.bare
  found, _ = trained(shared)
  alone, _ = trained(other.prepare(tff_runtime))
  assert same(found, alone) and not same(found, weights)
  assert same(trained(first.prepare(tff_runtime, like=training))[0], weights)
  assert sum(shared.states.knows(client) for client in range(4)) >= 2
  folder = shared.states._folder
  assert folder.exists()
  del shared
  gc.collect()
  assert not folder.exists(), 'what clients keep outlives a training that was given no folder'
  # Whatever the process depends on must be the same.
  wider = dataclasses.replace(images, train=dataclasses.replace(
      images.train, pool=dataclasses.replace(images.train.pool, x=images.train.pool.x[:, :, ::2])), test=None,
                              spec=None)
  for parts, said in (({'client': tv.Client(tv.sgd(0.1), epochs=1, batch_size=4)}, 'client_learning_rate'),
                      ({'algorithm': 'feddyn'}, 'algorithm'), ({'rounds': 3}, 'rounds'),
                      ({'task': tv.Task(wider, model='linear')}, 'images of another kind'),
                      ({'attack': configs.AttackConfig(attack='sign_flip', attack_fraction=0.3)}, 'another attack'),
                      # Its server reads the share of the clients' weights that took part.
                      ({'task': tv.Task(tiny.federated_images((7, 12, 3, 8)), model='linear')}, 'numbers of the')):
    with pytest.raises(ValueError, match=f'like: .*{said}'):
      made(**({'algorithm': 'scaffold'} | parts)).prepare(tff_runtime, like=training)


def private(mechanism, **more):
  return configs.PrivacyConfig(privacy=mechanism, clip_norm=1.0, delta=0.01, **more)


def test_rounds_by_hand_are_charged_to_no_budget_and_refuse_one(tmp_path):
  parts = {'privacy': private('client_gaussian', noise_multiplier=2.0), 'participation': tv.Poisson(2)}
  with pytest.raises(ValueError, match='budget_file=.* is charged for a run in a folder'):
    made(budget=tv.BudgetFile(str(tmp_path / 'budget'), epsilon=1.0), **parts).prepare()


PARTS = types.SimpleNamespace(numbered=False, reads_share=False)  # Of a process, as far as it is looked at.


@pytest.mark.parametrize(('mechanism', 'drawn'), [
    ('client_gaussian', tv.Poisson(2)), ('dp_mf', tv.RoundRobin(2)), ('dp_ftrl', tv.RoundRobin(2)),
    ('local_dp', tv.Fixed(2)), ('example_dp_sgd', tv.Fixed(2))])
def test_a_process_is_shared_only_where_its_noise_is_what_is_stated(mechanism, drawn):
  first, second = (made(privacy=private(mechanism, noise_multiplier=2.0), participation=drawn, seed=seed)
                   for seed in (4, 5))
  planned, again = first.plan(), second.plan()
  sharing.check(second, again, built=first, built_for=planned, parts=PARTS)
  # As a target epsilon determines it from other cohorts.
  noisier = dataclasses.replace(again, plan=dataclasses.replace(again.plan, noise_multiplier=3.0))
  with pytest.raises(ValueError, match=f'like: noise and bounds of privacy={mechanism} follow from clients'):
    sharing.check(second, noisier, built=first, built_for=planned, parts=PARTS)


@pytest.mark.parametrize(('mechanism', 'one', 'other'), [
    ('client_gaussian', tv.Poisson(1), tv.Poisson(3)), ('dp_mf', tv.RoundRobin(2), tv.RoundRobin(4)),
    ('dp_ftrl', tv.RoundRobin(2), tv.RoundRobin(4))])
def test_nor_is_it_where_denominators_or_streams_are_for_other_cohorts(mechanism, one, other):
  first, second = (made(privacy=private(mechanism, noise_multiplier=2.0), participation=drawn)
                   for drawn in (one, other))
  with pytest.raises(ValueError, match=f'like: noise and bounds of privacy={mechanism} follow from clients'):
    sharing.check(second, second.plan(), built=first, built_for=first.plan(), parts=PARTS)


@dataclasses.dataclass(frozen=True)
class Thermometers:
  """Clients who know a number each; the model, one number, moves half-way to it."""
  numbers: tuple[float, ...]
  tells: told.Told = told.Told(largest_weight=1.0, summary=lambda sums: collections.OrderedDict(
      error=tf.cast(sums['error'], tf.float32)), quantities={
          told.Measured.EXACT: collections.OrderedDict(error=told.fixed_point(0, 100, 2.0**-10)),
          told.Measured.NOTHING: {}})

  def keras_model(self):
    return tf.keras.Sequential([tf.keras.layers.Input((1,)), tf.keras.layers.Dense(1, use_bias=False)])

  def first_weights(self):
    return tff.learning.models.ModelWeights((np.full((1, 1), 2.0, np.float32),), ())

  def present(self, cohort):
    return cohort

  def request(self, client, round_num):
    return tf.data.Dataset.from_tensors(np.float32(self.numbers[client]))

  def client_work(self, beside):
    weights_type = tff.tensorflow.computation(
        lambda: tff.learning.models.ModelWeights.from_model(self.keras_model())).type_signature.result
    data_type = tff.SequenceType(np.float32)

    @tff.tensorflow.computation(weights_type, data_type)
    def work(weights, data):
      missed = weights.trainable[0] - data.get_single_element()
      measured = collections.OrderedDict(error=tf.cast(tf.reduce_sum(tf.abs(missed)), tf.float64))
      return local_training.returned(
          tff.learning.templates.ClientResult((missed / 2,), tf.constant(1.0)),
          measured if self.tells.quantities[beside.measured] else collections.OrderedDict(), beside)

    @tff.federated_computation
    def initialize():
      return tff.federated_value((), tff.SERVER)

    @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(weights_type, tff.CLIENTS),
                               tff.FederatedType(data_type, tff.CLIENTS))
    def next_fn(state, weights, data):
      result, measured = local_training.split(tff.federated_map(work, (weights, data)), self.tells.summary)
      return tff.templates.MeasuredProcessOutput(state, result, local_training.zipped(measured))

    return tff.learning.templates.ClientWorkProcess(initialize, next_fn)


@pytest.mark.parametrize('hidden', [
    {}, {'secure_sum': configs.SecureConfig(secure_sum='masks', secure_range=8.0)}])
def test_client_work_of_ones_own_is_averaged_also_under_masks(tff_runtime, hidden):
  work = tv.OwnWork(learner=Thermometers((4.0, 8.0, 0.0)), population=3, participation=tv.Fixed(3), rounds=2, **hidden)
  training = work.prepare(tff_runtime)
  (weight,), _ = trained(training)
  # The mean is 4: from 2 half-way to 3, then to 3.5. Of two clients, 6: from 2 to 4.
  assert weight[0, 0] == pytest.approx(3.5, abs=1e-3)
  (weight,), _ = trained(training, ([0, 1],))
  assert weight[0, 0] == pytest.approx(4.0, abs=1e-3)
  assert training.secure_sum['mode'] == ('masks' if hidden else 'none') and training.population == 3
  measured = training.next(training.begin(), 1).metrics['client_work']['train']
  assert measured['error'] == pytest.approx(2 + 6 + 2, abs=0.01)


def test_what_client_work_of_ones_own_does_not_go_with_is_refused():
  learner = Thermometers((1.0, 2.0))
  with pytest.raises(ValueError, match='compression=top_k'):
    tv.OwnWork(learner=learner, population=2, aggregator=configs.AggregationConfig(compression='top_k'))
  with pytest.raises(ValueError, match='cohort_size'):
    tv.OwnWork(learner=learner, population=2, participation=tv.Fixed(3)).prepare()
