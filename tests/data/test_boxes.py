"""Boxes as labels: how they are counted, and how they move with their images."""

import numpy as np
import pytest

from tff_vision import configs, labels
from tff_vision.data import batches, boxes, images, preprocess
from tff_vision.data.partition import imaging_device

SIDE = 16


def painted(rng, number):
  """Returns images that show one bright rectangle each, with its box among rows that are none."""
  x, y = np.zeros((number, SIDE, SIDE, 1), np.uint8), labels.no_boxes(number, 3)
  for image, rows in zip(x, y, strict=True):
    top, left = rng.integers(0, SIDE - 5, 2)
    bottom, right = top + rng.integers(3, 6), left + rng.integers(3, 6)
    image[top:bottom, left:right] = 255
    rows[1] = np.array([top, left, bottom, right, 2 * SIDE]) / SIDE
  return x, y


def extent(image):
  rows, columns = np.nonzero(image[..., 0] > 0.5)
  if not len(rows):
    return None
  return [rows.min(), columns.min(), rows.max() + 1, columns.max() + 1]


def test_boxes_are_a_kind_of_label_and_count_as_their_classes():
  y = labels.no_boxes(3, 2)
  y[0, 0], y[0, 1], y[1, 0] = [0, 0, 1, 1, 2], [0, 0, 1, 1, 0], [0, 0, 1, 1, labels.ignored_box(1)]
  assert labels.kind_of(y) is labels.Kind.BOXES
  assert labels.tags(y, 3).tolist() == [[1, 0, 1], [0, 0, 0], [0, 0, 0]]
  assert labels.outside(y, 3).tolist() == [] and labels.outside(y, 2).tolist() == [0]
  assert labels.outside(y, 1).tolist() == [0, 1]
  x = np.zeros((3, 4, 4, 1), np.uint8)
  spec = images.ImageSpec.of(images.Examples(x, y), 'abc')
  assert spec.label_shape == (2, 5) and spec.no_examples().y.shape == (0, 2, 5)
  with pytest.raises(ValueError, match='4 numbers each, and need 5'):
    images.Examples(x, y[..., :4].copy())


@pytest.mark.parametrize('chosen', [images.Preprocessing(flip=True), images.Preprocessing(crop=11, flip=True),
                                    images.Preprocessing(crop=12, size=32)])
def test_boxes_are_the_extents_of_what_their_moved_images_show(chosen):
  x, y = painted(np.random.default_rng(0), 12)
  spec = images.ImageSpec.of(images.Examples(x, y), 'abc')
  reader = batches.BatchReader(stored=spec, preprocessing=chosen, epochs=2, batch_size=5)
  pixels, found = (part.numpy() for part in reader.open(reader.dataset(x, y, seed=3)).all_epochs())
  check(pixels, found, blurred=chosen.size is not None)
  centre = preprocess.evaluation_labels(chosen, spec, y)
  check(preprocess.evaluation_fn(chosen, x).numpy(), np.asarray(centre), blurred=chosen.size is not None)


def check(pixels, found, blurred):
  for image, rows in zip(pixels, found, strict=True):
    assert rows[0].tolist() == rows[2].tolist() == [0, 0, 0, 0, labels.NO_BOX]
    shown = extent(image)
    if shown is None:
      assert rows[1, 4] == labels.NO_BOX or blurred
    else:
      np.testing.assert_allclose(rows[1, :4] * image.shape[0], shown, atol=1.01 if blurred else 1e-3)
      assert rows[1, 4] in (2, labels.ignored_box(2))


def test_a_box_of_which_a_crop_leaves_little_is_neither_wanted_nor_wrong():
  y = labels.no_boxes(1, 2)
  y[0, 0], y[0, 1] = [0, 0, 0.5, 0.5, 1], [0, 0.2, 1, 1, 0]
  found = boxes.cropped(y, 6, 0, 10, (SIDE, SIDE)).numpy()[0]  # Rows 6 to 8 of 0 to 8 stay: a quarter, less a little.
  np.testing.assert_allclose(found[0], [0, 0, 0.2, 0.8, 1], atol=1e-6)
  np.testing.assert_allclose(boxes.cropped(y, 7, 0, 9, (SIDE, SIDE)).numpy()[0, 0],
                             [0, 0, 1 / 9, 8 / 9, labels.ignored_box(1)], atol=1e-6)
  np.testing.assert_allclose(found[1], [0, 0.32, 1, 1, 0], atol=1e-6)


def test_boxes_of_what_a_crop_leaves_are_boxes_of_the_whole_image():
  cropping = images.Preprocessing(size=12, crop=7)
  spec = images.ImageSpec(shape=(40, 30, 3), dtype=np.uint8, class_names=['a'], labels=labels.Kind.BOXES, max_boxes=1)
  y = np.float32([[[0.25, 0.3, 0.6, 0.7, 0]]])
  cut = preprocess.evaluation_labels(cropping, spec, y)
  seen = preprocess.seen(cropping, spec.shape)
  np.testing.assert_allclose(seen, [2 / 12, 2 / 12, 9 / 12, 9 / 12])
  np.testing.assert_allclose(boxes.in_whole(cut[..., :4], seen), y[..., :4], atol=1e-6)
  assert preprocess.seen(images.Preprocessing(), spec.shape) == (0, 0, 1, 1)


@pytest.mark.parametrize('degrees', [20, -35, 90])
def test_a_turned_image_turns_its_boxes(degrees):
  x, y = painted(np.random.default_rng(1), 8)
  device = imaging_device.Device(degrees=degrees, contrast=1.0, noise=0.0, seed=0)
  seen = device.apply(images.Examples(x, y), split='train')
  for image, rows in zip(seen.x / 255, seen.y, strict=True):
    shown = extent(image)
    if shown is not None and 0 < min(shown) and max(shown) < SIDE:  # At the edge the border is repeated.
      np.testing.assert_allclose(rows[1, :4] * SIDE, shown, atol=1.6)


def test_label_flips_change_the_classes_of_boxes_only():
  from tff_vision.data import attacked
  x, y = painted(np.random.default_rng(2), 3)
  found = attacked.flip_labels(configs.AttackConfig(), 3)(images.Examples(x, y)).y
  assert (found[:, 1, 4] == 0).all() and (found[:, 0, 4] == labels.NO_BOX).all() and np.array_equal(
      found[..., :4], y[..., :4])
