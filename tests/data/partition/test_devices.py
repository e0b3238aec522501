"""Devices: rotation, contrast and noise by hand arithmetic, the same whenever they are asked."""

import numpy as np

from tff_vision import configs
from tff_vision.data import build, images, partition
from tff_vision.data.partition import imaging_device


def examples(dtype=np.uint8):
  x = np.zeros((3, 9, 9, 1), dtype)
  x[:, 4, 6] = 255 if dtype == np.uint8 else 1
  return images.Examples(x, np.arange(3, dtype=np.int32))


def device(degrees=0.0, contrast=1.0, noise=0.0):
  return imaging_device.Device(degrees=degrees, contrast=contrast, noise=noise, seed=5)


def test_a_perfect_device_changes_nothing():
  np.testing.assert_array_equal(device().apply(examples(), split='train').x, examples().x)


def test_a_quarter_turn_contrast_and_noise():
  turned = device(degrees=90).apply(examples(), split='train').x
  assert {tuple(place) for place in np.argwhere(turned[0, ..., 0] > 200)} in ({(2, 4)}, {(6, 4)})
  flat = device(contrast=0.5).apply(examples(np.float32), split='train').x
  np.testing.assert_allclose(np.unique(flat), [0.25, 0.75])
  grey = images.Examples(np.full((50, 9, 9, 1), 128, np.uint8), np.zeros(50, np.int32))
  noisy = device(noise=0.1)
  seen = noisy.apply(grey, split='train').x
  assert abs(seen.std() / 255 - 0.1) < 0.005
  np.testing.assert_array_equal(seen, noisy.apply(grey, split='train').x)
  assert not np.array_equal(seen, noisy.apply(grey, split='test').x)


def test_without_shifts_it_is_the_iid_partition():
  y = np.arange(60, dtype=np.int32) % 3
  labels = partition.Labels(train=y, test=y)
  none = configs.DataConfig(partition='feature_shift', shift_rotation=0.0, shift_contrast=0.0, shift_noise=0.0)
  shifted = partition.PARTITIONS['feature_shift'](labels, num_clients=4, config=none, seed=3)
  plain = partition.PARTITIONS['iid'](labels, num_clients=4, config=none, seed=3)
  for one, other in zip(shifted.train, plain.train, strict=True):
    np.testing.assert_array_equal(one, other)
  for own in shifted.devices:
    np.testing.assert_array_equal(own.apply(examples(), split='train').x, examples().x)


def test_clients_see_train_and_test_through_their_own_device():
  fields = {'num_clients': 4, 'held_out_clients': 2}
  shifted = build.build(configs.DataConfig(partition='feature_shift', **fields), seed=0)
  plain = build.build(configs.DataConfig(partition='iid', **fields), seed=0)
  for client in range(4):
    one, other = shifted.train.examples(client), plain.train.examples(client)
    assert shifted.train.num_examples(client) == len(one)
    np.testing.assert_array_equal(one.y, other.y)
    assert not np.array_equal(one.x, other.x)
    np.testing.assert_array_equal(one.x, shifted.train.examples(client).x)
    own = shifted.train.devices[client]
    np.testing.assert_array_equal(one.x, own.apply(other, split='train').x)
    np.testing.assert_array_equal(
        shifted.test.examples.take(shifted.test.clients[client]).x,
        own.apply(plain.test.examples.take(plain.test.clients[client]), split='test').x)
  assert not np.array_equal(shifted.unseen.examples.x, plain.unseen.examples.x)
  np.testing.assert_array_equal(shifted.unseen.examples.y, plain.unseen.examples.y)
