"""Preprocessing: hand arithmetic, TFF's own baselines, and the same pixels through the exported model."""

import itertools

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_federated.python.simulation.baselines import client_spec
from tensorflow_federated.python.simulation.baselines.cifar100 import image_classification_preprocessing as baseline

from tff_vision.data import batches, images, preprocess

Preprocessing = images.Preprocessing
CIFAR = Preprocessing(scale=1.0, crop=24, flip=True, pixels='per_image')
RNG = np.random.default_rng(0)
COLOUR = images.Examples(RNG.integers(0, 256, (6, 32, 32, 3), np.uint8), np.arange(6, dtype=np.int32))
GREY = images.Examples(RNG.random((6, 28, 28, 1)).astype(np.float32), np.arange(6, dtype=np.int32))


def _evaluated(preprocessing, x):
  return preprocess.evaluation_fn(preprocessing, tf.constant(x)).numpy()


def test_pixels_by_hand():
  x = np.array([0, 51, 255], np.uint8).reshape(1, 1, 3, 1)
  for preprocessing, expected in (
      (Preprocessing(), [0, .2, 1]),
      (Preprocessing(pixels='invert'), [1, .8, 0]),
      (Preprocessing(pixels='standardize', mean=(.2,), std=(.5,)), [-.4, 0, 1.6]),
      (Preprocessing(scale=1.0), [0, 51, 255])):
    found = _evaluated(preprocessing, x)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found.ravel(), expected, atol=1e-6)
  np.testing.assert_array_equal(_evaluated(Preprocessing(), GREY.x), GREY.x)  # Floats are taken as they are.


def test_grey_and_colour():
  red = np.zeros((1, 2, 2, 3), np.float32)
  red[..., 0] = 1
  np.testing.assert_allclose(_evaluated(Preprocessing(channels=1), red), np.full((1, 2, 2, 1), .2989), atol=1e-6)
  np.testing.assert_array_equal(_evaluated(Preprocessing(channels=3), GREY.x), np.repeat(GREY.x, 3, axis=-1))
  np.testing.assert_array_equal(_evaluated(Preprocessing(channels=1), GREY.x), GREY.x)


def test_constant_images_stay_constant_when_resized():
  x = np.full((1, 7, 5, 1), .25, np.float32)
  np.testing.assert_allclose(_evaluated(Preprocessing(size=12), x), np.full((1, 12, 12, 1), .25), atol=1e-6)


@pytest.mark.parametrize('size', [24, 32, 23])
def test_evaluation_equals_tffs_cifar_baseline(size):
  """TFF's baseline crops the test set at the centre and standardizes each image."""
  fn = baseline.create_preprocess_fn(client_spec.ClientSpec(num_epochs=1, batch_size=6, shuffle_buffer_size=1),
                                     crop_shape=(size, size, 3))
  theirs = next(iter(fn(tf.data.Dataset.from_tensor_slices({'image': COLOUR.x, 'label': COLOUR.y}))))[0]
  mine = _evaluated(Preprocessing(scale=1.0, crop=size, pixels='per_image'), COLOUR.x)
  np.testing.assert_allclose(mine, theirs.numpy(), atol=1e-5)


def _trained(preprocessing, examples, *, seed, epochs=1, batch=3):
  reader = batches.BatchReader(stored=examples, preprocessing=preprocessing, epochs=epochs, batch_size=batch)
  opened = reader.open(reader.dataset(examples.x, examples.y, seed=seed))
  return [tuple(part.numpy() for part in opened.batch(i)) for i in range(opened.num_batches)]


def test_training_crops_and_flips_are_pieces_of_the_image():
  preprocessing = Preprocessing(scale=1.0, crop=29, flip=True)
  offsets, mirrored = [], []
  for x, y in _trained(preprocessing, COLOUR, seed=2**62 + 5, epochs=8):
    assert x.shape == (3, 29, 29, 3)
    for image, label in zip(x, y, strict=True):
      pieces = {(top, left, flip): COLOUR.x[label][top:top + 29, left:left + 29][:, ::-1 if flip else 1]
                for top, left, flip in itertools.product(range(4), range(4), (False, True))}
      (place,) = [place for place, piece in pieces.items() if np.array_equal(piece, image)]
      offsets.append(place[:2])
      mirrored.append(place[2])
  assert {top for top, _ in offsets} == {left for _, left in offsets} == set(range(4))
  assert any(top != left for top, left in offsets) and 0 < sum(mirrored) < len(mirrored)


def test_training_is_a_function_of_the_seed():
  first, again, other = (_trained(CIFAR, COLOUR, seed=seed, epochs=2) for seed in (7, 7, 8))
  for (x, _), (same, _) in zip(first, again, strict=True):
    np.testing.assert_array_equal(x, same)
  assert not np.array_equal(first[0][0], other[0][0])
  assert not np.array_equal(first[0][0], first[2][0])  # The second epoch draws anew.


@pytest.mark.parametrize('preprocessing', [CIFAR, Preprocessing()])
def test_every_example_once_an_epoch_in_an_order_of_its_own(preprocessing):
  found = _trained(preprocessing, COLOUR, seed=3, epochs=3, batch=4)
  assert [len(y) for _, y in found] == [4, 4, 4, 4, 2]
  epochs = np.split(np.concatenate([y for _, y in found]), 3)
  assert all(sorted(epoch) == list(range(6)) for epoch in epochs)
  assert not np.array_equal(epochs[0], epochs[1])


def test_without_augmentation_training_equals_evaluation():
  preprocessing = Preprocessing(pixels='standardize', mean=(.1, .2, .3), std=(.5, .6, .7), size=20)
  expected = _evaluated(preprocessing, COLOUR.x)
  for x, y in _trained(preprocessing, COLOUR, seed=0):
    np.testing.assert_allclose(x, expected[y], atol=1e-6)


@pytest.mark.parametrize('examples, preprocessing', [
    (COLOUR, CIFAR), (COLOUR, Preprocessing(channels=1, size=16, pixels='standardize', mean=(.1,), std=(.5,))),
    (GREY, Preprocessing(channels=3, size=40, crop=33, pixels='per_image'))])
def test_exported_model_carries_it(examples, preprocessing, tmp_path):
  shape = preprocess.input_shape(preprocessing, examples.shape)
  inner = tf.keras.Sequential([tf.keras.layers.Input(shape), tf.keras.layers.Conv2D(2, 3), tf.keras.layers.Flatten()])
  whole = preprocess.with_preprocessing(inner, preprocessing, examples)
  expected = inner(_evaluated(preprocessing, examples.x)).numpy()
  assert inner(_trained(preprocessing, examples, seed=1)[0][0]).shape == expected[:3].shape
  whole.save(tmp_path / 'model.keras')
  tf.saved_model.save(whole, str(tmp_path / 'saved'))
  stored = tf.constant(examples.x.astype(np.float32))
  loaded = tf.keras.models.load_model(tmp_path / 'model.keras', compile=False)(stored).numpy()
  (served,) = tf.saved_model.load(str(tmp_path / 'saved')).signatures['serving_default'](stored).values()
  np.testing.assert_allclose(loaded, expected, atol=1e-4)
  np.testing.assert_allclose(served.numpy(), expected, atol=1e-4)


def test_impossible_shapes():
  assert preprocess.input_shape(CIFAR, (32, 32, 3)) == (24, 24, 3)
  with pytest.raises(ValueError, match='crop=24.*8x8'):
    preprocess.input_shape(CIFAR, (8, 8, 1))
  with pytest.raises(ValueError, match='4 channels.*image_channels=3'):
    preprocess.input_shape(Preprocessing(channels=3), (8, 8, 4))
