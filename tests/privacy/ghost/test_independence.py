"""Whether examples of a batch meet: what is proven, what is not, and that no proven program lets them."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_vision.privacy.ghost import clipped, independence, taps

L = tf.keras.layers
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')


def mean(x):
  return tf.reduce_mean(x, 0, keepdims=True)


@tf.custom_gradient
def mixing_backward(x):
  return tf.identity(x), lambda d: d + tf.reduce_mean(d, 0, keepdims=True)


# On [batch, 4, 6] float32, to the same shape.
APART = {
    'affine': lambda x: x * tf.range(6.0) + 1, 'per place': lambda x: x * tf.reshape(tf.range(24.0), [4, 6]),
    'own mean': lambda x: x - tf.reduce_mean(x, [1, 2], keepdims=True), 'softmax': tf.nn.softmax,
    'swish': tf.nn.silu, 'clipped': lambda x: tf.clip_by_value(x, -1, 1), 'where': lambda x: tf.where(x > 0, x, 2 * x),
    'reshaped': lambda x: tf.reshape(tf.reshape(x, [-1, 24]) * 2, [-1, 4, 6]),
    'reshaped by shape': lambda x: tf.reshape(tf.reshape(x, [tf.shape(x)[0], 24]), tf.shape(x)),
    'folded and back': lambda x: tf.reshape(tf.reshape(x, [-1, 6]) @ tf.eye(6), [-1, 4, 6]),
    'attention': lambda x: tf.nn.softmax(tf.matmul(x, x, transpose_b=True)) @ x,
    'einsum': lambda x: tf.einsum('bij,jk->bik', x, tf.eye(6)), 'sorted': lambda x: tf.sort(x, 2),
    'reversed': lambda x: x[:, ::-1], 'transposed': lambda x: tf.transpose(tf.transpose(x, [2, 0, 1]), [1, 2, 0]),
    'joined': lambda x: tf.concat([x[:, :2], tf.zeros_like(x[:, 2:])], 1), 'cumulated': lambda x: tf.cumsum(x, 1),
    'dropout': lambda x: tf.nn.dropout(x, 0.5), 'table': lambda x: tf.gather(
        tf.eye(6), tf.argmax(x, 2)), 'unstacked': lambda x: tf.stack(tf.unstack(x, axis=1), 1),
    'noise': lambda x: x + tf.random.normal(tf.shape(x)),
    'padded': lambda x: tf.pad(x, [[0, 0], [1, 0], [0, 0]])[:, 1:],
    'broadcast': lambda x: tf.broadcast_to(x[:, :1], tf.shape(x)), 'tiled': lambda x: tf.tile(x[:, :1], [1, 4, 1]),
    'split': lambda x: tf.concat(tf.split(x, 2, 1), 1), 'same noise': lambda x: x * tf.random.uniform([1, 4, 6]),
    'inner function': lambda x: tf.function(tf.tanh)(x),
    'batched einsum': lambda x: tf.einsum('bij,bkj->bik', x, x) @ tf.ones([4, 6]),
    'dilated': lambda x: tf.nn.conv2d(x[..., None], tf.ones([3, 3, 1, 1]), 1, 'SAME', dilations=2)[..., 0],
    'layer normalised': L.LayerNormalization(), 'group normalised': L.GroupNormalization(2, epsilon=0.1),
}
TOGETHER = {
    'mean': lambda x: x - mean(x), 'stopped mean': lambda x: x - tf.stop_gradient(mean(x)),
    'above the mean': lambda x: x * tf.cast(x > mean(x), tf.float32),
    'threshold': lambda x: tf.where(tf.reduce_max(x) > 1e3, 2 * x, x),
    'condition': lambda x: tf.cond(tf.reduce_mean(x) > 1e3, lambda: 2 * x, lambda: x),
    'sorted': lambda x: tf.sort(x, 0), 'largest': lambda x: x * tf.one_hot(tf.argmax(x, 0)[0, 0], tf.shape(
        x)[0])[:, None, None], 'reversed': lambda x: x[::-1], 'rolled': lambda x: tf.roll(x, 1, 0),
    'first': lambda x: x + x[:1], 'shuffled': tf.random.shuffle, 'cumulated': lambda x: tf.cumsum(x, 0),
    'product': lambda x: tf.reshape(tf.matmul(tf.reshape(x, [-1, 24]), tf.matmul(
        tf.reshape(x, [-1, 24]), tf.reshape(x, [-1, 24]), transpose_a=True)), [-1, 4, 6]),
    'einsum': lambda x: x + tf.einsum('bij,bkj->ik', x, x) @ tf.ones([4, 6]),
    'number of examples': lambda x: x / tf.cast(tf.shape(x)[0], tf.float32),
    'counted examples': lambda x: x / tf.reduce_sum(tf.ones_like(x[:, 0, 0])),
    'place': lambda x: x * tf.cast(tf.range(tf.shape(x)[0]), tf.float32)[:, None, None],
    'place by a cumulated one': lambda x: x * tf.cumsum(tf.ones_like(x), 0),
    'misaligned': lambda x: tf.reshape(tf.reshape(x, [24, -1]), [-1, 4, 6]),
    'transposed': lambda x: tf.reshape(tf.transpose(x, [1, 0, 2]), [-1, 4, 6]),
    'broadcast across': lambda x: x + tf.reduce_sum(tf.reduce_sum(x, 2)[None] + tf.reduce_sum(x, 2)[:, None],
                                                    [0])[..., None],
    'width by number': lambda x: x + tf.reduce_sum(x[:, :tf.shape(x)[0]], [1, 2], keepdims=True),
    'tiled by number': lambda x: x + tf.reduce_sum(tf.tile(x, [1, tf.shape(x)[0], 1]), [1, 2], keepdims=True),
    'seeded by data': lambda x: x + tf.random.stateless_uniform(tf.shape(x), tf.cast(
        tf.stack([tf.reduce_sum(x), 0.0]), tf.int32)),
    'whole numbers': lambda x: x + tf.cast(tf.reduce_max(tf.cast(x, tf.int32)), tf.float32),
    'kept ones': lambda x: x + tf.reduce_mean(tf.boolean_mask(x, x[:, 0, 0] > 0)),
    'normalised over the batch': lambda x: tf.nn.batch_normalization(x, *tf.nn.moments(x, 0), None, None, 1e-3),
    'kernel of the batch': lambda x: tf.nn.conv1d(x, tf.reduce_sum(x, 0)[None, :, :6][:, :1] * tf.ones([1, 6, 6]), 1,
                                                  'SAME'),
    'mixing backward': mixing_backward, 'mixing inside': lambda x: tf.function(lambda z: z - mean(z))(x),
    'loop': lambda x: tf.while_loop(lambda i, z: i < 2, lambda i, z: (i + 1, z + mean(z)), (0, x))[1],
    'scan': lambda x: tf.scan(lambda kept, one: kept + one, x),
}


def proven(function, shape=(None, 4, 6)):
  traced = tf.function(function, autograph=False).get_concrete_function(tf.TensorSpec(shape))
  try:
    independence.check(traced.graph, traced.inputs[0], traced.outputs)
  except taps.UnsupportedError:
    return False
  return True


@pytest.mark.parametrize('name', APART)
def test_what_keeps_examples_apart_is_proven(name):
  assert proven(APART[name])


@pytest.mark.parametrize('name', TOGETHER)
def test_what_lets_them_meet_is_not(name):
  assert not proven(TOGETHER[name])


_QUIET = [name for name in APART if name not in ('dropout', 'noise', 'same noise')]
_PROGRAMS = {**{f'apart: {name}': APART[name] for name in _QUIET},
             **{f'together: {name}': TOGETHER[name] for name in (
                 'stopped mean', 'threshold', 'reversed', 'first', 'place', 'misaligned', 'transposed', 'cumulated',
                 'number of examples', 'whole numbers', 'sorted')}}


@hypothesis.settings(max_examples=40, deadline=None, derandomize=True)
@hypothesis.given(st.lists(st.sampled_from(sorted(_PROGRAMS)), min_size=1, max_size=4), st.integers(0, 9))
def test_a_proof_of_a_program_means_that_nothing_moves(names, seed):
  def program(x):
    for name in names:
      x = _PROGRAMS[name](x)
    return x

  if not proven(program):
    assert any(name.startswith('together') for name in names)
    return
  rng = np.random.default_rng(seed)
  x, other = (rng.normal(size=(5, 4, 6)).astype(np.float32) for _ in range(2))
  other[2] = x[2]
  other[0] *= 1e4
  np.testing.assert_array_equal(program(x)[2], program(other)[2])
  np.testing.assert_allclose(program(x)[2], program(x[2:3])[0], rtol=1e-4, atol=1e-5)


def model(layer, *more):
  return tf.keras.Sequential([L.Input((4, 6)), layer, L.Flatten(), *more, L.Dense(5, 'tanh'), L.Dense(3)])


class Statistics(L.Layer):
  """Mixes over the batch where no operation of the layer itself does."""

  def call(self, inputs, training=None):
    return L.Activation(lambda x: x - tf.stop_gradient(mean(x)))(inputs) if training else inputs


MIXING = {
    'stopped mean': lambda: model(L.Lambda(TOGETHER['stopped mean'])),
    'above the mean': lambda: model(L.Lambda(TOGETHER['above the mean'])),
    'threshold': lambda: model(L.Lambda(TOGETHER['threshold'])),
    'condition': lambda: model(L.Lambda(TOGETHER['condition'])),
    'number of examples': lambda: model(L.Lambda(TOGETHER['number of examples'])),
    'subclass': lambda: model(Statistics()),
    'activation': lambda: model(L.Activation(TOGETHER['sorted'])),
    'functional': lambda: (lambda x: tf.keras.Model(x, L.Dense(3)(L.Flatten()(x - tf.stop_gradient(
        tf.reduce_max(x, 0))))))(L.Input((4, 6))),
    'mixing backward': lambda: model(L.Dense(6), L.Lambda(mixing_backward)),
}


@pytest.mark.parametrize('name', MIXING)
def test_one_example_moves_the_sum_by_no_more_than_the_clip(name):
  tf.keras.utils.set_random_seed(0)
  made = MIXING[name]()
  method = clipped.examine(made, tf.TensorSpec((None, 4, 6)))
  assert not method.ghost and 'apart' in method.reason
  rng = np.random.default_rng(0)
  x = rng.normal(size=(16, 4, 6)).astype(np.float32) * 0.3
  x[-1] = 1e4
  y = tf.constant(rng.integers(0, 3, 16))
  step = tf.function(lambda x, y: clipped.clipped_sum(made, LOSS, x, y, 1e-2, tf.ones(tf.shape(x)[0]),
                                                      ghost=method.ghost).gradients, reduce_retracing=True)
  moved = [a - b for a, b in zip(step(x, y), step(x[:-1], y[:-1]), strict=True)]
  assert np.sqrt(sum((np.float64(part) ** 2).sum() for part in moved)) <= 1e-2 * (1 + 1e-6)


class Remembering(L.Layer):
  """Moves towards the mean of what it has seen."""

  def build(self, shape):
    self.seen = self.add_weight('seen', [], initializer='zeros', trainable=False)

  def call(self, inputs, training=None):
    self.seen.assign(0.9 * self.seen + 0.1 * tf.reduce_mean(inputs))
    return inputs - self.seen


def test_a_layer_that_remembers_examples_is_refused():
  with pytest.raises(ValueError, match='keep something of an example'):
    clipped.examine(model(Remembering()), tf.TensorSpec((None, 4, 6)))


class Python(L.Layer):
  """Adds what Python code says, which remembers all that it has seen and says that it does not."""

  def call(self, inputs):
    return inputs + tf.ensure_shape(tf.numpy_function(lambda x: x.mean(), [inputs], tf.float32, stateful=False), [])


class Branching(L.Layer):
  """Has a branch and a loop in Python, which AutoGraph makes operations of."""

  def call(self, inputs):
    if tf.reduce_sum(inputs) > 0:
      inputs = inputs * 2
    for _ in tf.range(2):
      inputs = inputs + 1
    return inputs


class Failing(L.Layer):
  """Fails in training."""

  def call(self, inputs, training=None):
    if training:
      raise TypeError('this is no layer to train')
    return inputs


def test_a_layer_that_runs_python_may_remember_examples_and_is_refused():
  with pytest.raises(ValueError, match='operation PyFuncStateless at .* keep something of an example'):
    clipped.examine(model(Python()), tf.TensorSpec((None, 4, 6)))


def test_a_layer_is_examined_as_it_will_be_trained():
  assert not clipped.examine(model(Branching()), tf.TensorSpec((None, 4, 6))).ghost
  with pytest.raises(ValueError, match='model .* fails in training mode, .* with TypeError: .*no layer to train'):
    clipped.examine(model(Failing()), tf.TensorSpec((None, 4, 6)))


def test_the_trial_sees_what_a_wrong_rule_would_let_pass(monkeypatch):
  """Second line of defence: numbers, where the proof is blind."""
  monkeypatch.setattr(independence, 'check', lambda *arguments: None)
  for name in ('stopped mean', 'above the mean', 'threshold', 'number of examples', 'activation'):
    method = clipped.examine(MIXING[name](), tf.TensorSpec((None, 4, 6)))
    assert not method.ghost and ('changes with' in method.reason or 'depends on' in method.reason), name
  for name in ('dropout', 'softmax', 'layer normalised'):
    assert clipped.examine(model(L.Lambda(APART[name]), L.Dropout(0.5)), tf.TensorSpec((None, 4, 6))).ghost
  assert not clipped.examine(model(L.Lambda(TOGETHER['stopped mean']), L.Dropout(0.5)),
                             tf.TensorSpec((None, 4, 6))).ghost
