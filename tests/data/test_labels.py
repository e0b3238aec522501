"""Kinds of labels: what their arrays are, how they are counted, and how masks move with their images."""

import numpy as np
import pytest
import tensorflow as tf

from tff_vision import configs, labels
from tff_vision.data import batches, given, images, preprocess, records
from tff_vision.data.partition import imaging_device
from tff_vision.data.sources import arrays, label_arrays
from tff_vision.report import data_summary

MASKS = np.array([[[0, 0], [0, 0]], [[0, 2], [1, 255]], [[2, 2], [2, 2]]], np.uint8)


def test_kinds_by_their_arrays():
  assert labels.kind_of(np.zeros(3, np.int32)) is labels.Kind.CLASS
  assert labels.kind_of(np.zeros((3, 2), np.float32)) is labels.Kind.FINDINGS
  assert labels.kind_of(MASKS) is labels.Kind.MASK
  with pytest.raises(ValueError, match='masks are'):
    images.Examples(np.zeros((3, 4, 4, 1), np.uint8), MASKS)
  with pytest.raises(ValueError, match='labels must be'):
    images.Examples(np.zeros((3, 2, 2, 1), np.uint8), MASKS.astype(np.int64))
  spec = images.ImageSpec.of(images.Examples(np.zeros((3, 2, 2, 1), np.uint8), MASKS), 'abc')
  assert spec.label_shape == (2, 2) and spec.label_dtype == np.uint8 and not spec.multi_label


def test_masks_count_as_the_classes_that_they_show():
  # Class 0 counts where it is alone; 255 is no class.
  assert labels.tags(MASKS, 3).tolist() == [[1, 0, 0], [0, 1, 1], [0, 0, 1]]
  assert labels.rarest(np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1], [0, 0, 0]])).tolist() == [0, 1, 2, 0]
  assert labels.outside(MASKS, 3).tolist() == [] and labels.outside(MASKS, 2).tolist() == [1, 2]
  assert labels.outside(MASKS[:0], 3).tolist() == []  # Of a client without an example.


def test_masks_of_arrays():
  x = np.zeros((3, 2, 2, 1), np.uint8)
  found = given.from_arrays({'a': (x, MASKS), 'b': (x[:2], MASKS[:2, :, :, None])}, test=(x, MASKS))
  assert found.class_names == ('0', '1', '2') and found.spec.labels is labels.Kind.MASK
  counts = data_summary.label_counts(found)
  assert data_summary.describe(found, counts, seed=0)['class_counts'] == {'0': 2, '1': 2, '2': 3}
  for wrong in (MASKS.astype(int) + 1, MASKS - 0.5):
    with pytest.raises(ValueError, match='masks of class numbers in 0..254'):
      label_arrays.classes(wrong, 'y')


def test_masks_move_with_their_images():
  """An image that shows its own mask still shows it after crop, mirror and resize, in each training batch."""
  rng = np.random.default_rng(0)
  y = rng.integers(0, 4, (6, 8, 8)).astype(np.uint8)
  examples = images.Examples(y[..., None], y)
  spec = images.ImageSpec.of(examples, 'abcd')
  for chosen in (images.Preprocessing(scale=1.0, crop=5, flip=True), images.Preprocessing(scale=1.0, crop=8),
                 images.Preprocessing(scale=1.0, flip=True)):
    reader = batches.BatchReader(stored=spec, preprocessing=chosen, epochs=2, batch_size=4)
    pixels, masks = reader.open(reader.dataset(examples.x, y, seed=3)).all_epochs()
    assert masks.shape == pixels.shape[:3] and np.array_equal(pixels[..., 0], tf.cast(masks, tf.float32))
    evaluated = preprocess.evaluation_labels(chosen, spec, y)
    assert np.array_equal(preprocess.evaluation_fn(chosen, examples.x)[..., 0], tf.cast(evaluated, tf.float32))
  assert not np.array_equal(masks, np.concatenate([y, y]))
  # Twice the size: each pixel becomes four.
  larger = preprocess.evaluation_labels(images.Preprocessing(size=16), spec, y)
  assert np.array_equal(larger, y.repeat(2, 1).repeat(2, 2))


def test_a_device_turns_masks_with_images():
  y = np.zeros((1, 9, 9), np.uint8)
  y[0, :3] = 2
  turned = imaging_device.Device(degrees=90.0, contrast=1.0, noise=0.0, seed=0).apply(
      images.Examples(100 * y[..., None], y), split='train')
  assert (turned.y == 2).sum() == 27 and np.array_equal(turned.x[..., 0] == 200, turned.y == 2)


def test_masks_in_records(tmp_path):
  examples = images.Examples(np.arange(12, dtype=np.uint8).reshape(3, 2, 2, 1), MASKS)
  records.write(tmp_path / 'client.tfrecord', examples)
  x, y = records.read(tf.constant(str(tmp_path / 'client.tfrecord')), images.ImageSpec.of(examples, 'abc'))
  assert np.array_equal(x, examples.x) and np.array_equal(y, MASKS)


def test_masks_in_a_file_of_arrays(tmp_path):
  x = np.zeros((10, 2, 2), np.uint8)
  y = np.resize(MASKS, (10, 2, 2)).astype(np.int64)
  np.savez(tmp_path / 'a.npz', x=x, y=y)
  pool = arrays.load(configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'a.npz')))
  assert pool.train.y.dtype == np.uint8 and pool.class_names == ('0', '1', '2')
  assert pool.spec.labels is labels.Kind.MASK and not pool.check_labels('npz')
