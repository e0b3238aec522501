"""Layers of normalisation that stay on each client: against Keras's own training loop, and against arithmetic."""

import collections

import numpy as np
import pytest
import tensorflow as tf

from tests.learning.tiny_experiments import COHORTS, RATE, experiment, flat, hidden, kept, train
from tff_vision.client_state import store
from tff_vision.models import check, local_norm, personal_layers, replayable

L = tf.keras.layers


def with_batch_norm(input_shape, num_classes):
  """One normalisation over maps and one over vectors, of which one has no weights."""
  return tf.keras.Sequential([
      L.Input(input_shape), L.Conv2D(3, 3), L.BatchNormalization(momentum=0.7, name='maps'), L.ReLU(), L.Flatten(),
      L.BatchNormalization(momentum=0.8, center=False, scale=False, name='vectors'), L.Dense(num_classes)])


def with_group_norm(input_shape, num_classes):
  return tf.keras.Sequential([
      L.Input(input_shape), L.Conv2D(4, 3), L.GroupNormalization(2, name='groups'), L.ReLU(), L.Flatten(),
      L.Dense(num_classes)])


def second_implementation(run, cohorts):
  """FedBN in eager Keras: each client has a model; what is no normalisation is averaged by numbers of examples.

  Returns the body, and for each client the trainable weights and the statistics of its layers that normalise.
  """
  task = run.task
  model, clients = task.keras_model(), len(task.images.train)
  task.initial_weights().assign_weights_to(model)
  own = [weight for layer in model.layers if 'ormalization' in type(layer).__name__
         for weight in (*layer.trainable_weights, *layer.non_trainable_weights)]
  own = sorted(own, key=lambda w: not w.trainable)
  body = [weight for weight in model.trainable_weights if not any(weight is mine for mine in own)]
  shared = [weight.numpy() for weight in body]
  keeps = [[weight.numpy() for weight in own] for _ in range(clients)]
  for round_num, cohort in enumerate(cohorts, start=1):
    after, sizes = [], []
    for client in cohort:
      for weight, value in zip([*body, *own], [*shared, *keeps[client]], strict=True):
        weight.assign(value)
      for x, y in task.client_batches(client, round_num):
        with tf.GradientTape() as tape:
          loss = task.loss_fn(y, model(x, training=True))
        for weight, g in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
          weight.assign_sub(RATE * g)
      after.append([weight.numpy() for weight in body])
      keeps[client] = [weight.numpy() for weight in own]
      sizes.append(task.images.train.num_examples(client))
    shared = [np.average(values, axis=0, weights=sizes) for values in zip(*after, strict=True)]
  return shared, keeps, (model, body, own)


@pytest.mark.parametrize('builder', [with_batch_norm, with_group_norm])
def test_fedbn_and_its_evaluation(tff_runtime, tmp_path, builder):
  run = experiment('fedbn', builder=builder).prepare(client_states=tmp_path)
  shared, keeps, (model, body, own) = second_implementation(run, COHORTS)
  _, state, _ = train(run)
  weights = run.weights(state)
  found = [w for w, like in zip(weights.trainable, run.task.keras_model().trainable_weights, strict=True)
           if like.name.split('/')[0] not in ('maps', 'groups')]
  # A feature that hardly varies within a batch of four is divided by nearly nothing, which magnifies rounding.
  np.testing.assert_allclose(flat(found), flat(shared), atol=5e-4)
  for client in range(4):
    np.testing.assert_allclose(flat(kept(run, client)), flat(keeps[client]), atol=5e-4)
  for now, first in zip(weights.non_trainable, run.task.initial_weights().non_trainable, strict=True):
    np.testing.assert_array_equal(now, first, err_msg='statistics left their client')
  assert run.process.sent_length == sum(value.size for value in shared)

  def accuracy(client, mine):
    for weight, value in zip([*body, *own], [*shared, *mine], strict=True):
      weight.assign(value)
    test = run.task.images.test.examples.take(run.task.images.test.clients[client])
    return np.mean(model(test.x / np.float32(255), training=False).numpy().argmax(1) == test.y)

  mean = [np.mean(values, axis=0) for values in zip(*keeps, strict=True)]
  asked, read = [], store.Store.read
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(store.Store, 'read', lambda self, client, round_num: asked.append(client) or read(
        self, client, round_num))
    joint, told = run.parts.own_models.evaluate(run.evaluator, state, 3)
  assert asked == [0, 1, 2, 3], 'what a client keeps is read once'
  np.testing.assert_allclose(flat(joint.trainable), flat(run.parts.own_models.joint_model(weights, 3).trainable))
  assert told['own']['accuracies'] == pytest.approx([accuracy(client, keeps[client]) for client in range(4)])
  assert told['shared']['accuracies'] == pytest.approx([accuracy(client, mean) for client in range(4)])
  assert told['joined'] == 4
  assert run.evaluate(state)['per_client']['accuracies'] == told['shared']['accuracies']


@pytest.mark.ci
def test_under_a_secure_sum_it_is_the_same_and_nothing_is_joined(tff_runtime, tmp_path):
  """The masks hide a shorter update; what clients keep is in no model that the server has."""
  masked = experiment('fedbn', builder=with_batch_norm, secure=hidden('masks', tmp_path)).prepare(
      client_states=tmp_path / 'masked')
  plain = experiment('fedbn', builder=with_batch_norm).prepare(client_states=tmp_path / 'plain')
  found, state, _ = train(masked)
  np.testing.assert_allclose(found, train(plain)[0], atol=1e-2)
  for client in range(4):
    np.testing.assert_allclose(flat(kept(masked, client)), flat(kept(plain, client)), atol=1e-2)
  _, told = masked.parts.own_models.evaluate(masked.evaluator, state, 3)
  assert 'joined' not in told and told['own']['count'] == 4
  joint = masked.parts.own_models.joint_model(masked.weights(state), 3)
  np.testing.assert_array_equal(flat(joint.trainable), found)


@pytest.mark.parametrize('layer, shape', [
    (lambda kind: kind(momentum=0.6), (8, 5, 5, 3)), (lambda kind: kind(momentum=0.6, axis=1), (8, 5, 4, 3)),
    (lambda kind: kind(momentum=0.6, scale=False), (8, 7)),
    (lambda kind: kind(momentum=0.6, center=False), (9, 4, 4, 2))])
def test_a_call_in_training_is_that_of_keras(layer, shape):
  rng = np.random.default_rng(0)
  mine, keras = layer(local_norm.LocalBatchNormalization), layer(L.BatchNormalization)
  for _ in range(3):
    x = tf.constant(rng.normal(1, 2, shape).astype(np.float32))
    found, expected = [], []
    for made, into in ((mine, found), (keras, expected)):
      with tf.GradientTape() as tape:
        tape.watch(x)
        y = made(x, training=True)
        loss = tf.reduce_sum(y ** 3)
      into += [y, *tape.gradient(loss, [x, *made.trainable_weights]), *made.non_trainable_weights]
    for one, other in zip(found, expected, strict=True):
      np.testing.assert_allclose(one, other, rtol=2e-3, atol=2e-4)
  np.testing.assert_allclose(mine(x, training=False), keras(x, training=False), rtol=1e-4, atol=1e-5)


def test_layers_are_found_by_kind_and_by_pattern():
  class InstanceNorm(L.Layer):
    def build(self, input_shape):
      self.scale = self.add_weight('scale', shape=input_shape[-1:])

    def call(self, inputs):
      return inputs * self.scale

  inner = tf.keras.Sequential([L.Input((4,)), L.Dense(4, name='inner'), L.LayerNormalization(name='within')])
  model = tf.keras.Sequential([L.Input((4,)), L.Dense(4, name='stem_a'), InstanceNorm(name='own'), inner,
                               L.Dense(4, name='stem_b'), L.BatchNormalization(name='last', trainable=False),
                               L.Dense(2, name='head')])
  names = lambda layers: collections.Counter(layer.name for layer in personal_layers.chosen(model, layers))
  assert names('norm') == {'own': 1, 'within': 1}  # One that is frozen is everybody's.
  assert names('stem_*, within') == {'stem_a': 1, 'stem_b': 1, 'within': 1}
  assert names('') == {'head': 1} and names('none') == {}
  masks = personal_layers.masks(model, 'norm')
  assert sum(masks.trainable) == 3 and not any(masks.statistics)


class Frozen(L.BatchNormalization):
  """A user's own."""


class Block(L.Layer):
  """A convolution and its normalisation as one layer."""

  def __init__(self, norm, **settings):
    super().__init__(**settings)
    self.convolution, self.norm = L.Conv2D(3, 3, name='inside'), norm

  def call(self, inputs):
    return self.norm(self.convolution(inputs))


def of_part(part):
  return tf.keras.Sequential([L.Input((6, 6, 1)), part, L.Flatten(), L.Dense(3)])


@pytest.mark.parametrize(('part', 'why'), [
    (lambda: Frozen(), 'it is a Frozen'),
    (lambda: L.experimental.SyncBatchNormalization(), 'it is a SyncBatchNormalization'),
    (lambda: tf.compat.v1.keras.layers.BatchNormalization(), 'it is a BatchNormalization'),
    (lambda: L.BatchNormalization(renorm=True), 'it has renorm'),
    (lambda: Block(L.BatchNormalization()), 'it lies within another layer'),
    (lambda: L.TimeDistributed(L.BatchNormalization()), 'it lies within another layer')])
def test_a_batch_normalisation_whose_statistics_would_not_move_is_refused(part, why):
  model = of_part(part())
  fits = {'input_shape': (6, 6, 1), 'output_shape': (3,)}
  with pytest.raises(ValueError, match=f'would not move on a client: {why}'):
    check.check(model, personal=personal_layers.chosen(model, 'norm'), **fits)
  with pytest.raises(ValueError, match='mixes and leaks statistics'):  # Also where no algorithm keeps it on clients.
    check.check(model, **fits)
  model.trainable = False
  check.check(model, **fits)


def test_batch_normalisations_of_nested_models_and_several_devices_move_on_clients():
  inner = tf.keras.Sequential([L.Input((6, 6, 1)), L.Conv2D(3, 3), L.BatchNormalization(name='a')])
  images = L.Input((6, 6, 1))
  x = L.BatchNormalization(synchronized=True, momentum=0.5, name='b')(inner(images))
  outer = tf.keras.Model(images, L.Dense(3)(L.Flatten()(x)))
  check.check(outer, input_shape=(6, 6, 1), output_shape=(3,), personal=personal_layers.chosen(outer, 'norm'))
  made = replayable.with_replayable_dropout(lambda: tf.keras.models.clone_model(outer))
  kinds = [type(layer) for layer in made.submodules if isinstance(layer, local_norm.BATCH_NORMALIZATION)]
  assert kinds == [local_norm.LocalBatchNormalization] * 2
  x = np.random.default_rng(0).normal(2, 3, (8, 6, 6, 1)).astype(np.float32)
  theirs = tf.keras.models.clone_model(outer)
  theirs.set_weights(made.get_weights())
  made(x, training=True), theirs(x, training=True)
  for one, other in zip(made.non_trainable_weights, theirs.non_trainable_weights, strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)
    assert np.any(one.numpy() != (0 if 'mean' in one.name else 1)), one.name


def test_a_layer_around_others_is_no_normalisation_itself():
  wrapped = tf.keras.Sequential([
      L.Input((6, 6, 1)), L.SpectralNormalization(L.Conv2D(3, 3, name='kept'), name='around'),
      L.GroupNormalization(1, name='groups'), L.Flatten(), L.Dense(3)])
  assert [layer.name for layer in personal_layers.chosen(wrapped, 'norm')] == ['groups']
