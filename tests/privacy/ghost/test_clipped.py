import numpy as np
import pytest
import tensorflow as tf

from tff_vision.privacy.ghost import clipped, taps

L = tf.keras.layers
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')


class Subclassed(tf.keras.Model):
  """A model without a layer graph, with a shortcut."""

  def __init__(self):
    super().__init__()
    self.first, self.second, self.norm = L.Dense(6, 'tanh'), L.Dense(6), L.LayerNormalization()
    self.head = L.Dense(3)

  def call(self, inputs, training=None):
    hidden = self.first(L.Flatten()(inputs))
    return self.head(self.norm(hidden + self.second(hidden)))


class Scaled(L.Layer):
  """A layer that only the fallback knows."""

  def build(self, shape):
    self.scale = self.add_weight('scale', [shape[-1]], initializer='ones')

  def call(self, inputs, training=None):
    return inputs * self.scale if training else inputs


def sequential(*layers, shape=(8, 8, 2)):
  return tf.keras.Sequential([L.Input(shape), *layers, L.Flatten(), L.Dense(3)])


def residual():
  inputs = L.Input((8, 8, 2))
  hidden = L.GroupNormalization(2)(L.Conv2D(4, 3, padding='same')(inputs))
  hidden = L.Activation('relu')(hidden) + L.Conv2D(4, 1)(inputs)
  return tf.keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling2D()(hidden)))


def attention():
  inputs = L.Input((8, 8, 2))
  tokens = L.Reshape((16, 8))(inputs)
  hidden = L.MultiHeadAttention(2, 3)(tokens, tokens)
  return tf.keras.Model(inputs, L.Dense(3)(L.Flatten()(L.LayerNormalization()(hidden + tokens))))


def upsampling():
  inputs = L.Input((8, 8, 2))
  low = L.Conv2D(4, 3, padding='same')(L.MaxPool2D(3, padding='same')(inputs))
  hidden = L.Concatenate()([inputs, L.Cropping2D(((0, 1), (0, 1)))(L.UpSampling2D(3)(L.GroupNormalization(2)(low)))])
  return tf.keras.Model(inputs, L.Dense(3)(L.Flatten()(L.Conv2D(3, 1)(L.ReLU()(hidden)))))


MODELS = {
    'conv, valid': lambda: sequential(L.Conv2D(5, 3, activation='relu'), L.MaxPool2D()),
    'conv, strides and no bias': lambda: sequential(L.Conv2D(5, 3, 2, 'same', use_bias=False, activation='tanh')),
    'conv, dilation': lambda: sequential(L.Conv2D(5, (2, 3), padding='same', dilation_rate=2)),
    'conv, few positions': lambda: sequential(L.Conv2D(16, 5, 4, activation='tanh'), L.Conv2D(20, 1)),
    'conv, more channels': lambda: sequential(L.Conv2D(6, 3, padding='same'), L.Conv2D(4, 3), L.Conv2D(
        5, (2, 3), padding='same', dilation_rate=2)),
    'conv, strides and more channels': lambda: sequential(L.Conv2D(6, 3, padding='same'),
                                                          L.Conv2D(4, 3, (2, 1), 'same')),
    'conv, large kernel': lambda: sequential(L.Conv2D(6, 1), L.Conv2D(4, 5, padding='same')),
    'conv, groups': lambda: sequential(L.Conv2D(4, 3, groups=2)),
    'depthwise': lambda: sequential(L.DepthwiseConv2D(3, depth_multiplier=2, activation='relu'),
                                    L.LayerNormalization()),
    'dense on positions': lambda: sequential(L.Dense(7, 'tanh'), L.Dense(30, use_bias=False)),
    'dense, few positions': lambda: sequential(L.Reshape((2, 64)), L.Dense(50, 'tanh')),
    'layer normalisation over two axes': lambda: sequential(L.LayerNormalization(axis=(1, 3))),
    'group normalisation alone': lambda: sequential(L.GroupNormalization(1, center=False)),
    'embedding': lambda: tf.keras.Sequential([L.Input((5,)), L.Embedding(4, 6), L.Flatten(), L.Dense(3)]),
    'residual': residual, 'attention': attention, 'subclassed': Subclassed,
    'nested': lambda: sequential(tf.keras.Sequential([L.Conv2D(4, 3), L.GroupNormalization(2)]), L.Dense(4)),
    'other layers': lambda: sequential(L.SeparableConv2D(4, 3), L.PReLU(), Scaled(), L.Conv2DTranspose(3, 2)),
    'transposed convolution': lambda: sequential(L.Conv2DTranspose(3, 3, 2, 'same', activation='tanh'),
                                                 L.Conv2DTranspose(40, 2, 1, use_bias=False), L.MaxPool2D(6)),
    'transposed, strides beyond the kernel': lambda: sequential(
        L.Conv2DTranspose(5, 2, 3), L.Conv2DTranspose(3, (3, 2), (1, 2), output_padding=(0, 1)), L.MaxPool2D(5)),
    'transposed, few positions': lambda: sequential(L.Conv2D(20, 4, 4), L.Conv2DTranspose(16, 4, 2), L.MaxPool2D(2)),
    'transposed, dilation': lambda: sequential(L.Conv2DTranspose(3, 2, dilation_rate=2)),
    'upsampling and a shortcut': upsampling,
    'frozen': lambda: sequential(L.Conv2D(4, 3, trainable=False), L.Dense(4)),
}


def batch(model_name, size=6):
  rng = np.random.default_rng(3)
  x = (rng.integers(0, 4, (size, 5)) if model_name == 'embedding' else rng.normal(size=(size, 8, 8, 2)))
  return tf.constant(x, tf.float32), tf.constant(rng.integers(0, 3, size), tf.int32)


def made(name):
  tf.keras.utils.set_random_seed(1)
  model = MODELS[name]()
  model(batch(name)[0])
  for variable in model.trainable_variables:  # Biases and scales away from zeros and ones.
    variable.assign_add(tf.random.normal(variable.shape, stddev=0.1))
  return model


def by_hand(model, x, y):
  """Returns the gradient of each example, flat, from one tape an example."""
  rows = []
  for i in range(len(x)):
    with tf.GradientTape() as tape:
      loss = LOSS(y[i:i + 1], model(x[i:i + 1], training=True))
    found = tape.gradient(loss, model.trainable_variables)
    rows.append(np.concatenate([tf.convert_to_tensor(g).numpy().ravel() for g in found]))
  return np.array(rows)


@pytest.mark.parametrize('ghost', [True, False])
@pytest.mark.parametrize('name', MODELS)
def test_equals_per_example_gradients(name, ghost):
  model, (x, y) = made(name), batch(name)
  expected = by_hand(model, x, y)
  norms = np.linalg.norm(expected, axis=1)
  clip, mask = float(np.median(norms)), np.float32([1, 1, 0, 1, 1, 1])
  found = tf.function(lambda x, y, mask: clipped.clipped_sum(model, LOSS, x, y, clip, mask, ghost=ghost).__dict__)(
      x, y, mask)
  total = (expected * (mask * np.minimum(1, clip / norms))[:, None]).sum(0)
  np.testing.assert_allclose(found['norms'], norms, rtol=1e-4)
  got = np.concatenate([g.numpy().ravel() for g in found['gradients']])
  np.testing.assert_allclose(got, total, atol=1e-4 * abs(total).max())
  np.testing.assert_allclose(found['losses'], LOSS(y, model(x, training=True)), rtol=1e-4)


def test_what_is_fast_and_what_is_not_is_said():
  found = clipped.examine(made('other layers'), tf.TensorSpec((None, 8, 8, 2)))
  assert found.ghost and sorted(found.layers.values()) == ['any_layer'] * 3 + ['conv2d_transpose', 'dense']


def test_networks_of_convolutions_are_timed(monkeypatch):
  model = sequential(L.Conv2D(16, 3), L.Conv2D(16, 3), L.GlobalAveragePooling2D())
  spec = tf.TensorSpec((None, 8, 8, 2))
  assert 'examples/s' in clipped.examine(model, spec).reason
  for slow in (True, False):
    monkeypatch.setattr(clipped, '_seconds', lambda model, spec, ghost, slow=slow: 2.0 if ghost == slow else 1.0)
    found = clipped.examine(model, spec)
    assert found.ghost != slow and bool(found.layers) != slow
  assert 'dense' in clipped.examine(sequential(L.Flatten()), spec).reason


def test_attention_is_projections():
  found = clipped.examine(made('attention'), tf.TensorSpec((None, 8, 8, 2)))
  assert set(found.layers.values()) == {'einsum_dense', 'normalization', 'dense'}


def test_a_shared_layer_is_differentiated_one_by_one():
  shared, inputs = L.Dense(4), L.Input((4,))
  model = tf.keras.Model(inputs, L.Dense(3)(shared(tf.tanh(shared(inputs)))))
  before = [dict(layer.__dict__) for layer in model.layers]
  found = clipped.examine(model, tf.TensorSpec((None, 4)))
  assert not found.ghost and 'used twice' in found.reason
  assert [layer.__dict__.get('call') for layer in model.layers] == [kept.get('call') for kept in before]
  x, y = tf.random.stateless_normal((5, 4), (1, 2)), tf.constant([0, 1, 2, 0, 1])
  got = clipped.clipped_sum(model, LOSS, x, y, 0.1, tf.ones(5), ghost=found.ghost)
  expected = by_hand(model, x, y)
  expected *= np.minimum(1, 0.1 / np.linalg.norm(expected, axis=1))[:, None]
  np.testing.assert_allclose(np.concatenate([g.numpy().ravel() for g in got.gradients]), expected.sum(0), atol=1e-5)
  with pytest.raises(taps.UnsupportedError):
    clipped.clipped_sum(model, LOSS, x, y, 0.1, tf.ones(5))


def test_batch_normalisation_is_refused():
  with pytest.raises(ValueError, match='GroupNormalization'):
    clipped.examine(sequential(L.Conv2D(4, 3), L.BatchNormalization()), tf.TensorSpec((None, 8, 8, 2)))


@pytest.mark.parametrize('ghost', [True, False])
def test_no_example_contributes_more_than_the_clip_even_under_dropout(ghost):
  """Norms from one pass and gradients from another would differ by their masks, and exceed the clip."""
  tf.keras.utils.set_random_seed(2)
  model = sequential(L.Dropout(0.5), L.Conv2D(4, 3, activation='relu'), L.Dropout(0.5))
  step = tf.function(lambda x, y: clipped.clipped_sum(model, LOSS, x, y, 1e-2, tf.ones(1), ghost=ghost).gradients)
  x, y = batch('')
  for _ in range(20):
    for i in range(len(x)):
      assert tf.linalg.global_norm(step(100 * x[i:i + 1], y[i:i + 1])) <= 1e-2


@pytest.mark.parametrize('ghost', [True, False])
def test_an_example_that_is_no_number_counts_as_zero(ghost):
  model, (x, y) = made('conv, valid'), batch('')
  broken = tf.tensor_scatter_nd_update(x, [[2, 0, 0, 0]], [np.nan])
  mask = tf.constant([1.0, 1, 0, 1, 1, 1])
  got = clipped.clipped_sum(model, LOSS, broken, y, 0.1, tf.ones(6), ghost=ghost)
  expected = clipped.clipped_sum(model, LOSS, x, y, 0.1, mask, ghost=ghost)
  for one, other in zip(got.gradients, expected.gradients, strict=True):
    np.testing.assert_allclose(one, other, atol=1e-7)


def test_a_large_batch_is_taken_in_pieces_with_the_same_sum(monkeypatch):
  monkeypatch.setattr(clipped, '_SMALL_PIECE', 4)
  model = tf.keras.Sequential([tf.keras.layers.Input((6, 6, 1)), tf.keras.layers.Conv2D(3, 3, activation='tanh'),
                               tf.keras.layers.Flatten(), tf.keras.layers.Dense(3)])
  loss_fn = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')
  rng = np.random.default_rng(0)
  x, y = tf.constant(rng.normal(size=(11, 6, 6, 1)), tf.float32), tf.constant(rng.integers(0, 3, 11))
  mask = tf.constant(rng.integers(0, 2, 11), tf.float32)

  def summed(ghost):
    found = clipped.clipped_sum(model, loss_fn, x, y, 0.1, mask, ghost=ghost)
    return found.gradients, found.norms, found.losses

  pieces, loop = (tf.function(summed)(ghost) for ghost in (True, False))
  for one, other in zip(pieces[0], loop[0], strict=True):
    np.testing.assert_allclose(one, other, atol=1e-5)
  np.testing.assert_allclose(pieces[1], loop[1], rtol=1e-4)
  np.testing.assert_allclose(pieces[2], loop[2], rtol=1e-5)


@pytest.mark.parametrize('ghost', [True, False])
def test_a_batch_that_no_example_was_drawn_into_sums_to_zero(ghost):
  model, (x, y) = made('conv, more channels'), batch('')
  summed = tf.function(lambda x, y: clipped.clipped_sum(model, LOSS, x, y, 0.1, tf.ones(tf.shape(x)[0]),
                                                        ghost=ghost).gradients,
                       input_signature=[tf.TensorSpec([None, 8, 8, 2]), tf.TensorSpec([None], tf.int32)])
  assert not any(part.numpy().any() for part in summed(x[:0], y[:0]))
  assert all(part.numpy().any() for part in summed(x, y)[-2:])


class Tied(tf.keras.Model):
  """Uses one kernel forth and back, once behind its layer's back."""

  def __init__(self):
    super().__init__()
    self.first, self.head = L.Dense(6), L.Dense(3)

  def call(self, inputs, training=None):
    flat = L.Flatten()(inputs)
    return self.head(tf.matmul(self.first(flat), self.first.kernel, transpose_b=True))


class Borrowed(L.Layer):
  """Owns another layer's weight."""

  def __init__(self, lender):
    super().__init__()
    self.kernel = lender.kernel

  def call(self, inputs):
    return tf.matmul(inputs, self.kernel, transpose_b=True)


class Doubled(L.Dense):
  """Not what a dense layer computes."""

  def call(self, inputs):
    return 2 * super().call(inputs)


def borrowing():
  lender = L.Dense(6)
  lender.build([None, 128])
  return tf.keras.Sequential([L.Input((8, 8, 2)), L.Flatten(), lender, Borrowed(lender), L.Dense(3)])


ODD = {
    'a weight used outside of its layer': Tied, 'a weight of two layers': borrowing,
    'recurrent': lambda: sequential(L.Reshape((8, 16)), L.LSTM(4)),
    'time as batch': lambda: sequential(L.TimeDistributed(L.Dense(4))),
    'batch folded': lambda: sequential(L.Lambda(lambda x: tf.reshape(x, [-1, 64])), L.Dense(4), L.Lambda(
        lambda x: tf.reshape(x, [-1, 8]))),
    'mixing': lambda: sequential(L.Lambda(lambda x: x - tf.reduce_mean(x, 0, keepdims=True)), L.Dense(4)),
}


@pytest.mark.parametrize('name', ODD)
def test_what_taps_would_get_wrong_is_differentiated_one_by_one(name):
  model, (x, y) = ODD[name](), batch(name)
  model(x)
  found = clipped.examine(model, tf.TensorSpec([None, 8, 8, 2], tf.float32))
  assert not found.ghost, found
  expected = by_hand(model, x, y)
  sums = clipped.clipped_sum(model, LOSS, x, y, 1e9, tf.ones(6), ghost=False)
  np.testing.assert_allclose(np.concatenate([np.ravel(g) for g in sums.gradients]), expected.sum(0), rtol=1e-4,
                             atol=1e-4 * np.abs(expected).max())


def test_a_subclass_of_a_known_layer_is_not_taken_for_it():
  model, (x, y) = sequential(Doubled(5, activation='tanh'), L.Dropout(0.5)), batch('subclass')
  found = clipped.examine(model, tf.TensorSpec([None, 8, 8, 2], tf.float32))
  assert found.ghost and [name for name in found.layers.values()] == ['any_layer', 'dense']
  model = sequential(Doubled(5, activation='tanh'))
  sums = clipped.clipped_sum(model, LOSS, x, y, 1.0, tf.ones(6))
  np.testing.assert_allclose(sums.norms, np.linalg.norm(by_hand(model, x, y), axis=1), rtol=1e-4)


class Optional(L.Layer):
  """A layer with an option of its own."""

  def build(self, shape):
    self.scale = self.add_weight('scale', [shape[-1]], initializer='ones')

  def call(self, inputs, factor=1.0):
    return inputs * self.scale * factor


def test_a_layer_with_options_of_its_own_is_differentiated_one_by_one():
  inputs = L.Input((8, 8, 2))
  model = tf.keras.Model(inputs, L.Dense(3)(L.Flatten()(Optional()(inputs, factor=2.0))))
  found = clipped.examine(model, tf.TensorSpec([None, 8, 8, 2], tf.float32))
  assert not found.ghost and 'factor' in found.reason
