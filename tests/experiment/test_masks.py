"""Whole runs on images with masks: under privacy, in secure sums, with algorithms of several kinds."""

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from tff_vision import configs

L = tf.keras.layers


def squares(count, rng):
  """Returns images with a bright square, and masks that show it."""
  mask = np.zeros((count, 8, 8), np.uint8)
  for one, (top, left) in zip(mask, rng.integers(0, 5, (count, 2)), strict=True):
    one[top:top + 4, left:left + 4] = 1
  return np.clip(60 + 140 * mask + rng.normal(0, 10, mask.shape), 0, 255).astype(np.uint8), mask


def network(input_shape, num_classes):
  """Down and up again, beside a shortcut."""
  images = L.Input(input_shape)
  hidden = L.Conv2DTranspose(4, 2, 2)(L.Conv2D(4, 3, 2, 'same', activation='relu')(images))
  hidden = L.GroupNormalization(1)(L.Concatenate()([images, hidden]))
  return tf.keras.Model(images, L.Conv2D(num_classes, 1)(hidden))


def run(folder, **parts):
  rng = np.random.default_rng(0)
  images = tv.data.from_arrays({name: squares(count, rng) for name, count in (('a', 12), ('b', 9), ('c', 10))},
                               test={'a': squares(6, rng), 'c': squares(5, rng)}, class_names=('background', 'square'))
  made = tv.Experiment(tv.Task(images, model=network, objective=tv.Segmentation()), **{
      'client': tv.Client(tv.sgd(0.3), epochs=4, batch_size=4), 'participation': tv.Fixed(3), 'rounds': 3,
      'rounds_per_evaluation': 3, **parts})
  found = made.run(folder)
  page = (folder / 'report.html').read_text()
  # Single images are shown where nothing is promised and no update is hidden.
  assert ('Test images where the model is worst' in page) == bool(found.report['training_data_shown'])
  assert np.isfinite(found.report['evaluation']['loss'])
  assert len(found.report['per_client']['accuracies']) == 3 and found.report['per_client']['accuracies'][1] is None
  return found.report, page


@pytest.mark.ci
def test_example_level_privacy_covers_the_pixels_of_an_example(tmp_path):
  private = configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=0.3, delta=1e-2,
                                  example_copies=2, example_shift=1, example_mirror=True)
  report, page = run(tmp_path / 'run', privacy=private)
  assert report['privacy']['unit'] == 'example' and report['privacy']['epsilon'] > 0
  gradients = report['privacy']['gradients']
  assert not gradients['ghost'] or set(gradients['layers'].values()) == {
      'conv2d', 'conv2d_transpose', 'normalization'}
  assert 'A sample of training images' not in page


@pytest.mark.ci
@pytest.mark.parametrize('parts', [
    {'algorithm': 'scaffold'}, {'secure_sum': tv.Masks()},
    {'participation': tv.Poisson(3), 'privacy': configs.PrivacyConfig(
        privacy='client_gaussian', clip_norm=1.0, noise_multiplier=0.05, delta=1e-2, metrics_noise_multiplier=2.0)}
], ids=['scaffold', 'masks', 'client_gaussian'])
def test_masks_are_learned_in_every_way(tmp_path, parts):
  report, page = run(tmp_path / 'run', **parts)
  assert report['evaluation']['dice'] > 0.6
  assert ('A sample of training images' in page) == ('algorithm' in parts)
