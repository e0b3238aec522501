"""No example moves the sum by more than the clip, whatever floating point does to its norm."""

import hypothesis
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import strategies as st

from tff_vision.privacy.ghost import clipped, rules, taps

L = tf.keras.layers
LOSS = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction='none')
EXAMPLES = 4

# Layer, input shape, and the rule it is for; products of factors and materialised gradients both occur.
LAYERS = {
    'dense': (lambda: L.Dense(5), (40,)),
    'dense on few tokens': (lambda: L.Dense(64), (6, 64)),
    'dense on many tokens': (lambda: L.Dense(4), (33, 3)),
    'convolution by factors': (lambda: L.Conv2D(64, 3, padding='same'), (2, 2, 64)),
    'pointwise by factors': (lambda: L.Conv2D(64, 1), (3, 3, 64)),
    'convolution by places': (lambda: L.Conv2D(3, 3), (7, 7, 6)),
    'convolution by patches': (lambda: L.Conv2D(3, 3, strides=2), (7, 7, 2)),
    'convolution one by one': (lambda: L.Conv2D(3, 5, padding='same'), (7, 7, 6)),
    'depthwise': (lambda: L.DepthwiseConv2D(3), (7, 7, 4)),
    'einsum': (lambda: L.EinsumDense('abc,cde->abde', output_shape=(None, 2, 4), bias_axes='de'), (5, 6)),
    'group normalisation': (lambda: L.GroupNormalization(6), (5, 5, 6)),
    'layer normalisation': (L.LayerNormalization, (5, 5, 6)),
    'embedding': (lambda: L.Embedding(3, 5), (17,)),
    'any layer': (lambda: L.Conv1D(4, 3), (9, 5)),
}


def nasty(rng, shape, kind, exponent):
  """Returns float32 numbers that rounding is hard on."""
  noise = rng.normal(size=shape)
  made = {
      'plain': noise, 'zeros': 0 * noise, 'nearly constant': 1 + 1e-6 * noise, 'constant': 1 + 0 * noise,
      'wide': noise * 10.0 ** rng.uniform(-20, 12, shape), 'one large': np.where(rng.random(shape) < 0.02, 1e6, noise),
      'tiny': 1e-38 * noise,
  }[kind]
  return (made * 10.0 ** exponent).astype(np.float32)


def cancelling(derivative):
  """Returns derivatives whose places, and channels, nearly add up to nothing."""
  axes = tuple(range(1, derivative.ndim - 1)) or (1,)
  return derivative - derivative.mean(axes, keepdims=True)


@pytest.fixture(scope='module')
def tapped():
  """Returns name -> (layer, its rule's tap for given inputs)."""
  models = {}
  for name, (make, shape) in LAYERS.items():
    models[name] = tf.keras.Sequential([L.Input(shape), make()])

  def tap(name, x):
    with taps.tapped(models[name]) as found:
      models[name](x, training=True)
    return found[0]

  return tap


KINDS = ('plain', 'zeros', 'nearly constant', 'constant', 'wide', 'one large', 'tiny')


@hypothesis.settings(max_examples=150, deadline=None, derandomize=True,
                     suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
@hypothesis.given(st.sampled_from(sorted(LAYERS)), st.sampled_from(KINDS), st.sampled_from(KINDS), st.integers(-12, 8),
                  st.integers(-12, 8), st.booleans(), st.integers(0, 9))
def test_a_norm_is_never_below_that_of_what_is_added(tapped, name, inputs, derivatives, e, f, cancels, seed):
  check(tapped, name, inputs, derivatives, e, f, cancels, seed)


def check(tapped, name, inputs, derivatives, e, f, cancels, seed):
  rng = np.random.default_rng(seed)
  shape = (EXAMPLES, *LAYERS[name][1])
  x = rng.integers(0, 3, shape).astype(np.float32) if name == 'embedding' else nasty(rng, shape, inputs, e)
  tap = tapped(name, tf.constant(x))
  dz = nasty(rng, tap.outputs.shape, derivatives, f)
  dz = tf.constant(cancelling(dz) if cancels else dz)
  contribution = clipped._rule(tap)(tap, dz)
  norms = np.sqrt(contribution.squared_norms.numpy())
  for i in range(EXAMPLES):
    parts = contribution.weighted_sum(tf.one_hot(i, EXAMPLES, dtype=tf.float64), lambda tensor: tensor)
    alone = np.sqrt(sum((np.float64(part) ** 2).sum() for part in parts))
    assert alone <= norms[i] * (1 + 1e-9) or not np.isfinite(norms[i])


@pytest.mark.parametrize('name', ['dense', 'dense on few tokens', 'convolution by factors', 'convolution by places'])
def test_products_that_a_processor_cuts_short_change_no_bound(tapped, name, monkeypatch):
  """As with math=bfloat16 and on graphics cards: float32 products of numbers of 8 bits, float64 ones as they are."""
  exact = tf.matmul

  def short(a, b, **options):
    if a.dtype == tf.float32:
      a, b = (tf.cast(tf.cast(part, tf.bfloat16), tf.float32) for part in (a, b))
    return exact(a, b, **options)

  monkeypatch.setattr(tf, 'matmul', short)
  for seed, inputs in enumerate(('plain', 'nearly constant', 'wide')):
    check(tapped, name, inputs, 'plain', 0, 0, seed % 2 == 1, seed)


def test_a_sum_of_squares_is_an_upper_bound_and_close():
  rng = np.random.default_rng(0)
  for shape in ((128,), (131,), (7, 11, 13), (3, 3, 64, 64), (1,)):
    values = rng.normal(size=(3, *shape)).astype(np.float32) * np.float32([1e-15, 1, 1e12]).reshape(
        3, *[1] * len(shape))
    exact = (np.float64(values) ** 2).reshape(3, -1).sum(1)
    found = rules.squares(tf.constant(values)).numpy()
    assert (found >= exact).all()
    np.testing.assert_allclose(found, exact, rtol=1e-4)


def contributions(model, x, clip):
  """Returns the norm of what each example adds to the sum, in clips; every example stays in the batch."""
  y = tf.zeros(len(x), tf.int32)
  step = tf.function(lambda mask: clipped.clipped_sum(model, LOSS, x, y, clip, mask).gradients)
  return [np.sqrt(sum((np.float64(g) ** 2).sum() for g in step(tf.one_hot(i, len(x))))) / clip for i in range(len(x))]


INSTANCE_NORMS = {
    'convolution': (lambda: L.Conv2D(64, 3, padding='same'), (2, 2, 64)),
    'pointwise': (lambda: L.Conv2D(128, 1), (4, 4, 128)),
    'dense on tokens': (lambda: L.Dense(128), (16, 128)),
}


@pytest.mark.parametrize('name', INSTANCE_NORMS)
def test_what_a_normalisation_cancels_does_not_pass_the_clip(name):
  make, shape = INSTANCE_NORMS[name]
  tf.keras.utils.set_random_seed(0)
  first = make()
  model = tf.keras.Sequential([L.Input(shape), first, L.GroupNormalization(shape[-1]), L.Flatten(), L.Dense(3)])
  rng = np.random.default_rng(1)
  for level, spread in ((1, 1e-4), (100, 1e-4), (100, 1e-6), (1000, 1e-3)):
    x = tf.constant(level * (1 + spread * rng.normal(size=(4, *shape))), tf.float32)
    for clip in (1.0, 0.1):
      assert max(contributions(model, x, clip)) <= 1 + 1e-6


@pytest.mark.parametrize('ghost', [True, False])
def test_broken_and_huge_examples_leave_a_finite_sum_within_the_bound(ghost):
  tf.keras.utils.set_random_seed(0)
  model = tf.keras.Sequential([L.Input((6, 6, 2)), L.Conv2D(3, 3), L.Conv2D(40, 4), L.Flatten(), L.Dense(3)])
  x = np.random.default_rng(0).normal(size=(8, 6, 6, 2)).astype(np.float32)
  for i, value in enumerate((np.nan, np.inf, -np.inf, 3e38, 1e-45, 1e30, 1e19)):
    x[i, 0, 0, 0] = value
  total = clipped.clipped_sum(model, LOSS, tf.constant(x), tf.zeros(8, tf.int32), 0.1, tf.ones(8), ghost=ghost)
  norm = np.sqrt(sum((np.float64(g) ** 2).sum() for g in total.gradients))
  assert 0 < norm <= 8 * 0.1 * (1 + 1e-6)


@pytest.mark.parametrize('ghost', [True, False])
def test_the_sum_is_that_of_its_parts_to_float64(ghost, monkeypatch):
  """In float32 a batch's sum is off by some 1e-7 of a clip and example, which no clip accounts for."""
  monkeypatch.setattr(clipped, '_SMALL_PIECE', 7)
  tf.keras.utils.set_random_seed(0)
  model = tf.keras.Sequential([L.Input((6, 6, 2)), L.Conv2D(3, 3, activation='tanh'), L.Flatten(), L.Dense(3)])
  x = tf.random.stateless_normal((40, 6, 6, 2), (0, 1))
  step = tf.function(lambda mask: clipped.clipped_sum(
      model, LOSS, x, tf.zeros(40, tf.int32), 0.1, mask, ghost=ghost).gradients)
  parts = [step(tf.one_hot(i, 40)) for i in range(40)]
  for position, total in enumerate(step(tf.ones(40))):
    expected = np.sum([part[position] for part in parts], 0)
    assert np.abs(total - expected).max() < 1e-13


