"""Devices: rotation, contrast and noise by hand arithmetic, the same whenever they are asked."""

import numpy as np
import pytest

from tff_vision import configs
from tff_vision.data import build, images, partition
from tff_vision.data.partition import client_shift, imaging_device


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


def test_gamma_blur_and_brightness():
  half = images.Examples(np.full((1, 9, 9, 1), 0.25, np.float32), np.zeros(1, np.int32))
  change = lambda seen=half, **fields: imaging_device.Device(
      degrees=0.0, contrast=1.0, noise=0.0, seed=5, **fields).apply(seen, split='train').x
  np.testing.assert_allclose(change(gamma=2.0), 0.0625, rtol=1e-6)
  np.testing.assert_allclose(change(brightness=0.5), 0.75, rtol=1e-6)
  np.testing.assert_allclose(change(brightness=-0.5), 0.0)
  # A blur keeps the sum of a dot away from the border, and spreads it as the Gaussian says.
  dot = examples(np.float32)
  dot.x[:] = 0
  dot.x[:, 4, 4] = 1
  blurred = change(dot, blur=1.0)
  np.testing.assert_allclose(blurred.sum(axis=(1, 2, 3)), 1, atol=1e-3)
  np.testing.assert_allclose(blurred[0, 4, 5, 0] / blurred[0, 4, 4, 0], np.exp(-0.5), rtol=1e-4)


@pytest.mark.parametrize('shift', ['device', 'scanners'])
@pytest.mark.parametrize('fields', [
    {'dataset': 'digits', 'partition': 'dirichlet', 'num_clients': 5, 'held_out_clients': 2},
    {'dataset': 'synthetic_emnist', 'partition': 'natural', 'num_clients': 5, 'held_out_clients': 1,
     'client_validation_fraction': 0.2}])
def test_any_partition_is_seen_through_the_clients_own_devices(shift, fields):
  """The same clients with the same labels; of each, training, validation and test images through one device."""
  shifted, plain = (build.build(configs.DataConfig(client_shift=how, **fields), seed=3) for how in (shift, 'none'))
  again = build.build(configs.DataConfig(client_shift=shift, **fields), seed=3)
  note, = [note for note in shifted.notes if note.startswith('Feature shift')]
  devices = shifted.train.devices
  assert len(set(devices)) == 5 and shifted.train.client_ids == plain.train.client_ids
  for client, (name, device) in enumerate(zip(shifted.train.client_ids, devices, strict=True)):
    assert f'{name}: {device.words()}' in note
    if shift == 'scanners':
      assert device.name == list(client_shift.SCANNERS)[client % 4]
    one, other = (found.train.examples(client) for found in (shifted, plain))
    np.testing.assert_array_equal(one.y, other.y)
    np.testing.assert_array_equal(one.x, device.apply(other, split='train').x)
    np.testing.assert_array_equal(one.x, again.train.examples(client).x)
    seen, stored = (found.test.examples.take(found.test.clients[client]) for found in (shifted, plain))
    np.testing.assert_array_equal(seen.x, device.apply(stored, split='test').x)
    if plain.validation is not None:
      assert np.array_equal(shifted.validation.examples(client).x, plain.validation.examples(client).x) == (
          device.name == 'reference')
  assert not np.array_equal(shifted.unseen.examples.x, plain.unseen.examples.x)
  other = build.build(configs.DataConfig(client_shift=shift, **fields), seed=4)
  assert other.train.devices != devices


@pytest.mark.parametrize(('fields', 'match'), [
    ({'partition': 'iid', 'shift_gamma': 0.5}, 'shift_gamma.*no effect with partition=iid.*or client_shift=device'),
    ({'client_shift': 'scanners', 'shift_noise': 0.2}, 'shift_noise.*no effect'),
    ({'client_shift': 'device', 'partition': 'feature_shift'}, 'gives each client a device already'),
    ({'client_shift': 'device', 'shift_blur': -1.0}, 'shift_blur'),
    ({'client_shift': 'device', 'shift_brightness': 1.5}, 'shift_brightness'),
    ({'client_shift': 'vendor'}, 'client_shift')])
def test_shifts_that_would_have_no_effect_are_refused(fields, match):
  with pytest.raises(ValueError, match=match):
    configs.DataConfig(**fields)
