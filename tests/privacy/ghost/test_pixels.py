"""Clipping where a loss is over pixels: the loss of all pixels of an example is that example's loss."""

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.models import unet
from tff_vision.objectives import base, segmentation
from tff_vision.privacy.ghost import clipped
from tff_vision.privacy.mechanisms import example_views

LOSS = base.per_example(segmentation.CrossEntropyAndDice((1.0, 2.0, 0.5)))


def batch(size):
  rng = np.random.default_rng(0)
  y = rng.integers(0, 3, (size, 9, 8)).astype(np.uint8)
  y[0, :4], y[1] = 255, 255  # One example with ignored pixels, one without any other.
  return tf.constant(rng.normal(size=(size, 9, 8, 1)), tf.float32), tf.constant(y)


@pytest.fixture(scope='module')
def model():
  tf.keras.utils.set_random_seed(2)
  made = unet.build_small((9, 8, 1), 3)
  for variable in made.trainable_variables:
    variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
  return made


@pytest.fixture(scope='module')
def volumes():
  tf.keras.utils.set_random_seed(3)
  made = unet.build_of_volumes((9, 8, 5), 3)
  for variable in made.trainable_variables:
    variable.assign_add(tf.random.normal(variable.shape, stddev=0.05))
  return made


@pytest.mark.parametrize('ghost', [True, False])
def test_norms_and_sums_are_those_of_single_examples(model, ghost):
  _check_norms_and_sums(model, *batch(5), ghost)


def test_norms_and_sums_of_volumes_are_those_of_single_examples(volumes):
  x, y = batch(5)
  deep = tf.tile(y[..., None], [1, 1, 1, 5])
  noise = np.random.default_rng(1).normal(size=(5, 9, 8, 5))
  _check_norms_and_sums(volumes, tf.constant(noise + x, tf.float32), deep, True)


def _check_norms_and_sums(model, x, y, ghost):
  rows = []
  for i in range(5):
    with tf.GradientTape() as tape:
      loss = LOSS(y[i:i + 1], model(x[i:i + 1], training=True))
    rows.append(np.concatenate([part.numpy().ravel() for part in tape.gradient(loss, model.trainable_variables)]))
  norms = np.linalg.norm(rows, axis=1)
  assert norms[1] == 0 and (norms[[0, 2, 3, 4]] > 1e-3).all()
  clip = float(np.median(norms))
  found = clipped.clipped_sum(model, LOSS, x, y, clip, tf.ones(5), ghost=ghost)
  assert found.norms.numpy() == pytest.approx(norms, rel=1e-3, abs=1e-9)
  total = np.sum([row * min(1, clip / max(norm, 1e-30)) for row, norm in zip(rows, norms, strict=True)], axis=0)
  flat = np.concatenate([part.numpy().ravel() for part in found.gradients])
  assert np.abs(flat - total).max() <= 1e-4 * np.abs(total).max()
  assert found.losses.numpy() == pytest.approx(LOSS(y, model(x)).numpy(), rel=1e-4, abs=1e-6)


def test_a_u_net_keeps_examples_apart_by_proof_and_each_layer_has_its_rule(model, monkeypatch):
  monkeypatch.setattr(clipped, '_seconds', lambda model, spec, ghost: 1.0)
  found = clipped.examine(model, tf.TensorSpec((None, 9, 8, 1), tf.float32))
  assert found.ghost, found.reason
  assert set(found.layers.values()) == {'conv2d', 'normalization'}


def test_a_u_net_of_volumes_keeps_examples_apart_by_proof(volumes, monkeypatch):
  monkeypatch.setattr(clipped, '_seconds', lambda model, spec, ghost: 1.0)
  found = clipped.examine(volumes, tf.TensorSpec((None, 9, 8, 5), tf.float32))
  assert found.ghost, found.reason
  assert set(found.layers.values()) == {'any_layer', 'normalization'}


def test_masks_follow_the_views_of_their_images():
  rng = np.random.default_rng(1)
  y = rng.integers(0, 200, (3, 8, 7)).astype(np.uint8)
  views = example_views.Views(copies=4, shift=2, mirror=True)
  words = tf.constant(rng.integers(0, 2**32, (3, 4)), tf.uint32)
  seen = example_views.seen(views, tf.cast(y[..., None], tf.float32), words)[..., 0].numpy()
  masks = example_views.seen_labels(views, tf.constant(y), words).numpy()
  assert masks.dtype == np.uint8 and (seen == masks).mean() > 0.6
  # Beyond the edge an image is reflected, and a mask says nothing.
  assert np.array_equal(seen[masks != 255], masks[masks != 255])
  assert example_views.seen_labels(views, tf.constant([1, 2, 3]), words).numpy().tolist() == [1] * 4 + [2] * 4 + [3] * 4
