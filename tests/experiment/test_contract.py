"""Algorithms and objectives that break their contract are refused in one sentence, and nothing is ignored silently."""

import collections
import dataclasses
import types

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tff_vision import configs
from tff_vision.objectives import classification

Pair = collections.namedtuple('Pair', 'one other')


class Works(tv.Algorithm):
  """Returns what `made` makes of the trained client."""

  def __init__(self, made, **declared):
    self.made = made
    vars(self).update(declared)

  def work(self, client):
    return self.made(client.descend(), client)

  def brings(self, weights):
    return tf.zeros([2]) if self.keeps else None


class Steps(tv.Algorithm):
  """Does what `made` says on the server."""

  def __init__(self, made, **declared):
    self.made = made
    vars(self).update(declared)

  def server_state(self, weights):
    return tf.zeros([2])

  def step(self, server, mean, share, weights):
    return self.made(server, mean, share)


class Counts(tv.Algorithm):
  """Clients keep what `first` is and `following` makes of it; so does the server."""
  keeps = True

  def __init__(self, first, following):
    self.first, self.following = first, following

  def work(self, client):
    trained = client.descend()
    return tv.Work(trained=trained, sent=tuple(trained.update()), kept=self.following(client.brought))

  def brings(self, weights):
    return self.first

  def server_state(self, weights):
    return self.first

  def step(self, server, mean, share, weights):
    return self.following(server), mean


class Shown(tv.Algorithm):
  def shown(self, server):
    return tf.constant(1.0)


class Own(tv.Algorithm):
  def own_model(self, kept, server, weights):
    return weights


class Keeps(tv.Algorithm):
  keeps = True


def experiment(objective=None, **parts):
  task = tv.Task(tv.testing.tiny_images(), model='linear', objective=objective or tv.Classification())
  return tv.Experiment(task, client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), participation=tv.Fixed(3),
                       rounds=1, **parts)


def sent(trained, change=lambda part: part, **more):
  return tv.Work(trained=trained, sent=tuple(map(change, trained.update())), **more)


@pytest.mark.parametrize(('algorithm', 'said'), [
    (Works(lambda trained, client: 5), 'Works.work must return a tff_vision.Work, found int'),
    (Works(lambda trained, client: tv.Work(trained=trained, sent=None)), 'must send float32 tensors, found NoneType'),
    (Works(lambda trained, client: sent(trained, lambda part: tf.cast(part, tf.int32))), 'tensors, found int32'),
    (Works(lambda trained, client: sent(trained, lambda part: part.numpy())), 'Works.work fails with AttributeError'),
    (Works(lambda trained, client: client.descend(lambda gradients, weights: gradients)), 'work fails with TypeError'),
    (Works(lambda trained, client: {}['x']), "Works.work fails with KeyError: 'x'"),
    (Works(lambda trained, client: sent(trained, kept=tf.zeros([2]))), 'which is lost unless Works.keeps is True'),
    (Works(lambda trained, client: sent(trained), keeps=True), 'must return as kept what brings describes'),
    (Works(lambda trained, client: sent(trained, kept=tf.zeros([3])), keeps=True), r'found float32\(3,\) in place of'),
    (Counts(tf.constant('x'), lambda own: own), r'Counts.brings must describe a state of numbers, found string\(\)'),
    (Counts((0, None), lambda own: own), 'Counts.brings must describe a state of numbers, found NoneType'),
    (Counts((), lambda own: own), 'Counts.brings must describe a state of one number or more'),
    (Counts(Pair(1.0, 2.0), lambda own: own), 'in tuples, lists and dictionaries, found Pair'),
    (Steps(lambda server, mean, share: (server, mean), server_state=lambda weights: None),
     'Steps.server_state must return tensors or'),
    (Steps(lambda server, mean, share: (server, mean), server_state=lambda weights: 1 / 0),
     'Steps.server_state fails with ZeroDivisionError'),
    (Keeps(), 'Keeps.brings must return the state'),
    (Steps(lambda server, mean, share: None), r'must return \(the next state, the gradient\), found NoneType'),
    (Steps(lambda server, mean, share: (server, mean[:1])), 'a gradient like the weights, a list: found 1 tensors'),
    (Steps(lambda server, mean, share: (server, [0.0, 0.0])), 'a list: found float in place of float32'),
    (Steps(lambda server, mean, share: (1.5, mean)), r'server_state: found float in place of float32\(2,\)'),
    (Steps(lambda server, mean, share: (server, mean[0])), 'a list: found one tensor'),
    (Steps(lambda server, mean, share: (tf.zeros([3]), mean)), 'the next state in the form of server_state'),
    (Steps(lambda server, mean, share: (server, [part * share for part in mean])),
     'Steps.step reads share, which is 0 unless Steps.reads_share is True'),
    (Shown(), 'Shown.shown would have no effect, because Shown.shows is not True'),
    (Own(), 'Own.own_model would have no effect, because Own.personal is not True')])
def test_algorithms_that_break_the_contract_are_refused_in_one_sentence(algorithm, said):
  with pytest.raises(ValueError, match=said) as refused, tv.open_runtime() as place:
    experiment(algorithm=algorithm).prepare(place)
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize(('first', 'following', 'after_two'), [
    (tf.constant(3), lambda own: own + 1, 5), (np.uint8(3), lambda own: own + tf.constant(1, tf.uint8), 5),
    (False, tf.logical_not, False), (0.0, lambda own: 7, 7.0),
    ({'b': tf.constant(0), 'a': tf.ones([2])}, lambda own: {'a': own['a'] * 2, 'b': own['b'] + 1},
     {'b': 2, 'a': np.array([4.0, 4.0])}),
    ([tf.zeros([2]), tf.zeros([2])], lambda own: [own[1], own[0] + 1], [np.ones(2), np.ones(2)])])
def test_what_clients_and_the_server_keep_may_be_any_numbers_in_any_order(first, following, after_two):
  with tv.open_runtime() as place:
    training = experiment(algorithm=Counts(first, following)).prepare(place)
    state = training.begin()
    for round_num in (1, 2):
      state = training.next(state, round_num, [0]).state
    for found in (training.states.read(0, None), state.finalizer['algorithm']):
      same = [np.array_equal(one, other) for one, other in zip(
          tf.nest.flatten(found), tf.nest.flatten(after_two), strict=True)]
      assert same and all(same)


class Optimizer(tff.learning.optimizers.Optimizer):
  """Makes the step that `made` makes of its state, weights and gradients."""

  def __init__(self, made):
    self.made = made

  def initialize(self, specs):
    return {'slow': tuple(tf.zeros(spec.shape) for spec in specs), 'number': tf.constant(0)}

  def next(self, state, weights, gradients):
    return self.made(state, weights, gradients)


def with_momentum(state, weights, gradients):
  slow = tuple(0.9 * before + part for before, part in zip(state['slow'], gradients, strict=True))
  # The keys stand in another order than at first.
  return {'number': state['number'] + 1, 'slow': slow}, tuple(
      weight - 0.1 * part for weight, part in zip(weights, slow, strict=True))


@pytest.mark.parametrize('side', ['client', 'server'])
@pytest.mark.parametrize(('optimizer', 'said'), [
    (Optimizer(lambda state, weights, gradients: 1 / 0), 'Optimizer fails with ZeroDivisionError'),
    (Optimizer(lambda state, weights, gradients: weights), 'Optimizer must return from next a state like'),
    (Optimizer(lambda state, weights, gradients: (state, weights[:1])), 'weights like those .*: found 1 tensors in'),
    (Optimizer(lambda state, weights, gradients: ({**state, 'number': 1.0}, weights)), 'found float in place of int32'),
    (tff.learning.optimizers.build_adafactor(0.01), r'a state like that of initialize: found float32\(\) in place of')])
def test_optimizers_that_break_their_contract_are_refused_in_one_sentence(side, optimizer, said):
  given = {'client': {'client': tv.Client(optimizer)}, 'server': {'server': tv.Server(optimizer)}}[side]
  with pytest.raises(ValueError, match=f'{side}_optimizer=.*{said}') as refused, tv.open_runtime() as place:
    dataclasses.replace(experiment(), **given).prepare(place)
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize('side', ['client', 'server'])
def test_an_optimizer_of_ones_own_is_that_of_tff(side):
  momentum = tff.learning.optimizers.build_sgdm(0.1, momentum=0.9)
  found = []
  with tv.open_runtime() as place:
    for optimizer in (Optimizer(with_momentum), momentum):
      given = {'client': {'client': tv.Client(optimizer, epochs=2, batch_size=4)},
               'server': {'server': tv.Server(optimizer)}}[side]
      training = dataclasses.replace(experiment(), **given).prepare(place)
      state = training.begin()
      for round_num in (1, 2):
        state = training.next(state, round_num).state
      found.append(training.weights(state).trainable[0])
  np.testing.assert_allclose(*found, atol=1e-6)


def test_a_declared_share_is_read():
  steps = Steps(lambda server, mean, share: (server, [part * share for part in mean]), reads_share=True)
  with tv.open_runtime() as place:
    training = experiment(algorithm=steps).prepare(place)
    state = training.begin()
    before, after = training.weights(state), training.weights(training.next(state, 1).state)
  assert not np.array_equal(before.trainable[0], after.trainable[0])


def test_what_is_no_objective_is_refused():
  with pytest.raises(ValueError, match=r'objective=Classification is a class: give an object, Classification\(...\)'):
    assert experiment(tv.Classification)
  with pytest.raises(ValueError, match='objective=keras.* lacks task, metric, num_outputs, head, loss_fn, keras_model'):
    assert experiment(tf.keras.losses.Huber()).objective
  with pytest.raises(ValueError, match='lacks loss_fn'):
    assert experiment(types.SimpleNamespace(**{name: None for name in (
        'task', 'metric', 'num_outputs', 'head', 'keras_model', 'right', 'metrics', 'measure', 'yardstick',
        'client_values')})).objective


def test_an_objective_that_needs_labels_gets_them_unless_something_is_promised():
  @dataclasses.dataclass(frozen=True, kw_only=True)
  class Own(classification.Classification):
    needs_labels: bool = True

  made = experiment(Own(num_outputs=3, multi_label=False))
  assert len(made.objective.weights) == 3 and not made.objective.needs_labels
  for parts in ({'secure_sum': tv.Masks()}, {'privacy': configs.PrivacyConfig(
      privacy='local_dp', clip_norm=1.0, noise_multiplier=9.0)}):
    with pytest.raises(ValueError, match='needs constants from the clients\' own labels'):
      experiment(Own(num_outputs=3, multi_label=False), **parts).ledger()


@pytest.mark.parametrize('given', [{'on_round': None}, {'stop_requested': 5}])
def test_what_is_called_after_a_round_must_be_a_function(given, tmp_path):
  with pytest.raises(ValueError, match=f'{next(iter(given))} must be a function'):
    experiment().run(tmp_path / 'run', **given)
  assert not (tmp_path / 'run').exists()
