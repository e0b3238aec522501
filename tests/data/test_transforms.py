"""Moves, shades and erasures: by hand on tiny images, masks and boxes with their images, draws within their bounds."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from tests import tiny
from tff_vision import configs, labels
from tff_vision.data import batches, boxes, build, images, preprocess, transforms

Augmentation = images.Augmentation
EVERYTHING = Augmentation(rotation=20, translation=0.1, scale=0.2, brightness=0.3, contrast=0.5, erasing=0.4, mixup=0.5)
GRID = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)


def _move(degrees=0.0, factor=1.0, down=0.0, right=0.0, shape=(3, 3)):
  constant = lambda *values: tf.constant(values, tf.float32)
  return transforms.moves(constant(np.deg2rad(degrees)), constant(factor), constant([down, right]), shape)


@pytest.mark.parametrize(('move', 'expected'), [
    ({}, [[0, 1, 2], [3, 4, 5], [6, 7, 8]]),
    ({'degrees': 90}, [[6, 3, 0], [7, 4, 1], [8, 5, 2]]),  # Clockwise: the right edge moves down.
    ({'degrees': 180}, [[8, 7, 6], [5, 4, 3], [2, 1, 0]]),
    ({'down': 1}, [[0, 1, 2], [0, 1, 2], [3, 4, 5]]),
    ({'right': 1}, [[0, 0, 1], [3, 3, 4], [6, 6, 7]]),
    ({'factor': 2}, [[2, 2.5, 3], [3.5, 4, 4.5], [5, 5.5, 6]]),
    ({'factor': 0.5}, [[0, 1, 2], [3, 4, 5], [6, 7, 8]])])
def test_moves_by_hand(move, expected):
  found = transforms.warped(tf.constant(GRID), _move(**move)).numpy()[0, ..., 0]
  np.testing.assert_allclose(found, expected, atol=1e-5)
  if move != {'factor': 2}:
    mask = transforms.warped(tf.constant(GRID.astype(np.uint8)), _move(**move)).numpy()[0, ..., 0]
    np.testing.assert_array_equal(mask, expected)


@given(st.floats(-180, 180), st.floats(0.5, 2), st.floats(-4, 4), st.floats(-4, 4))
def test_an_inverse_leads_back_and_boxes_hold_what_they_held(degrees, factor, down, right):
  shape, box = (40, 30), (12, 8, 22, 20)
  move = _move(degrees, factor, down, right, shape)
  there, back = (np.vstack([matrix[0], [0, 0, 1]]) for matrix in (transforms.inverse(move).numpy(), move.numpy()))
  np.testing.assert_allclose(there @ back, np.eye(3), atol=1e-4)
  mask = np.zeros((1, *shape, 1), np.uint8)
  mask[:, box[0]:box[2], box[1]:box[3]] = 1
  rows, columns = np.nonzero(transforms.warped(tf.constant(mask), move).numpy()[0, ..., 0])
  top, left, bottom, right_end = transforms.moved_boxes(tf.constant([[box]], tf.float32), move).numpy()[0, 0]
  if not len(rows):
    return
  # A pixel belongs to the mask where its centre lies in the moved rectangle.
  assert rows.min() + 0.5 >= top - 0.01 and rows.max() + 0.5 <= bottom + 0.01
  assert columns.min() + 0.5 >= left - 0.01 and columns.max() + 0.5 <= right_end + 0.01
  area = (bottom - top) * (right_end - left)
  if abs(degrees) < 1 and abs(down) + abs(right) < 4 and factor < 1:
    assert area == pytest.approx(120 * factor ** 2, rel=0.1)


def test_boxes_follow_their_image_and_those_that_leave_it_become_none():
  move, none = _move(right=9, shape=(10, 20)), [0, 0, 0, 0, labels.NO_BOX]
  y = tf.constant([[[0.2, 0.6, 0.5, 0.8, 1], [0, 0, 0.4, 0.25, 0], [0.1, 0.5, 0.2, 0.75, 2], none]])
  found = boxes.moved(y, move, (10, 20)).numpy()[0]
  np.testing.assert_allclose(found, [none, [0, 0.45, 0.4, 0.7, 0], [0.1, 0.95, 0.2, 1, -4], none], atol=1e-6)
  # Through a reader: each box is the extent of what its moved image shows.
  x, y = np.zeros((8, 24, 24, 1), np.uint8), labels.no_boxes(8, 2)
  x[:, 9:15, 8:14], y[:, 0] = 255, np.array([9, 8, 15, 14, 24]) / 24
  spec = images.ImageSpec.of(images.Examples(x, y), 'ab')
  preprocessing = images.Preprocessing(crop=22, flip=True, augmentation=Augmentation(translation=0.1, scale=0.2))
  reader = batches.BatchReader(stored=spec, preprocessing=preprocessing, epochs=3, batch_size=8)
  for image, rows in zip(*reader.open(reader.dataset(x, y, seed=3)).all_epochs(), strict=True):
    shown = np.nonzero(image.numpy()[..., 0] > 0.5)
    extent = np.array([shown[0].min(), shown[1].min(), shown[0].max() + 1, shown[1].max() + 1])
    np.testing.assert_allclose(22 * rows[0, :4].numpy(), extent, atol=0.75)


def test_shades_by_hand():
  x = tf.constant([0.2, 0.4, 0.9, 0.5], shape=(1, 2, 2, 1))
  both = Augmentation(brightness=1, contrast=1)
  drawn = {'brightness': tf.fill([1, 1, 1, 1], 0.3), 'contrast': tf.fill([1, 1, 1, 1], 1.5)}
  np.testing.assert_allclose(transforms.shaded(both, x, drawn).numpy().ravel(), [.35, .65, 1, .8], atol=1e-6)
  wide = dataclasses.replace(both, black=-1.0, white=1.0)  # A range twice as wide is shifted twice as far.
  shifted = transforms.shaded(wide, x, {'brightness': drawn['brightness'] * -2}).numpy().ravel()
  np.testing.assert_allclose(shifted, [-1, -.8, -.3, -.7], atol=1e-6)
  erased = transforms.shaded(Augmentation(erasing=0.5), x, {'erased': tf.constant([[0, 1, 2, 2]])}).numpy().ravel()
  np.testing.assert_allclose(erased, [.2, .5, .9, .5], atol=1e-6)


def test_draws_stay_within_their_bounds_and_do_not_depend_on_each_other():
  count, shape = 3000, (20, 30, 1)
  draw = lambda augmentation: preprocess.draw(
      images.Preprocessing(augmentation=augmentation), shape, count, tf.constant(5, tf.int64))
  drawn = {name: value.numpy() for name, value in draw(EVERYTHING).items()}
  linear = np.linalg.inv(drawn['move'][:, :, :2])
  factors = np.sqrt(np.linalg.det(linear))
  angles = np.degrees(np.arctan2(linear[:, 1, 0], linear[:, 0, 0]))
  middle = np.array([14.5, 9.5])
  shifts = np.einsum('nij,nj->ni', linear, middle - drawn['move'][:, :, 2]) - middle
  for values, reach in ((factors - 1, 0.2), (angles, 20), (shifts[:, 0], 3), (shifts[:, 1], 2),
                        (drawn['brightness'].ravel(), 0.3), (drawn['contrast'].ravel() - 1, 0.5)):
    assert np.abs(values).max() <= reach * 1.001 and np.abs(values).max() > 0.98 * reach
    assert abs(values.mean()) < 0.05 * reach
  assert abs(np.corrcoef(angles, factors)[0, 1]) < 0.06
  top, left, bottom, right = drawn['erased'].T
  areas = (bottom - top) * (right - left) / 600
  assert areas.min() == 0 and 0.45 < (areas == 0).mean() < 0.55 and 0.3 < areas.max() <= 0.4
  assert top.min() == left.min() == 0 and bottom.max() == 20 and right.max() == 30
  alone = draw(Augmentation(contrast=0.5))
  assert set(alone) == {'contrast'}
  np.testing.assert_array_equal(alone['contrast'], drawn['contrast'])
  assert not draw(Augmentation()) and not Augmentation().words() and len(EVERYTHING.words()) == 7


def test_each_images_variation_is_a_function_of_itself_and_its_mask_follows():
  rng = np.random.default_rng(0)
  y = np.zeros((5, 16, 16), np.uint8)
  y[:, 4:9, 5:12] = rng.integers(1, 3, 5)[:, None, None]
  x = np.repeat((100 * y)[..., None], 3, axis=-1)
  spec = images.ImageSpec(shape=(16, 16, 3), dtype=np.uint8, class_names=('a', 'b', 'c'), labels=labels.Kind.MASK)
  preprocessing = images.Preprocessing(crop=14, flip=True, augmentation=dataclasses.replace(
      EVERYTHING, brightness=0, contrast=0, erasing=0, mixup=0))
  drawn = preprocess.draw(preprocessing, spec.shape, 5, tf.constant(3, tf.int64))
  moved = preprocess.training_fn(preprocessing, tf.constant(x), drawn).numpy()
  masks = preprocess.training_labels(preprocessing, spec, tf.constant(y), drawn).numpy()
  assert masks.dtype == np.uint8 and not np.array_equal(masks[:, :14, :14], y[:, 1:15, 1:15])
  for image, mask in zip(moved[..., 0], masks, strict=True):
    inside = np.zeros_like(mask, bool)  # Where no edge is near, bilinear and nearest agree.
    inside[1:-1, 1:-1] = np.all([mask[1:-1, 1:-1] == mask[1 + a:13 + a, 1 + b:13 + b] for a in (-1, 0, 1)
                                 for b in (-1, 0, 1)], axis=0)
    np.testing.assert_allclose(255 * image[inside], 100.0 * mask[inside], atol=0.1)
  # With everything but mixup, another image at another place of the batch changes nothing.
  every = dataclasses.replace(preprocessing, augmentation=dataclasses.replace(EVERYTHING, mixup=0))
  drawn = preprocess.draw(every, spec.shape, 5, tf.constant(3, tf.int64))
  other = x.copy()
  other[3] = 255 - other[3]
  a, b = (preprocess.training_fn(every, tf.constant(values), drawn).numpy() for values in (x, other))
  np.testing.assert_array_equal(np.delete(a, 3, 0), np.delete(b, 3, 0))
  assert not np.allclose(a[3], b[3])
  np.testing.assert_array_equal(preprocess.evaluation_fn(every, tf.constant(x)), x[:, 1:15, 1:15] * np.float32(1 / 255))


def test_batches_are_mixed_with_themselves():
  examples = tiny.federated_images().train.pool
  preprocessing = images.Preprocessing(augmentation=Augmentation(mixup=0.5))
  reader = batches.BatchReader(stored=images.ImageSpec.of(examples, tiny.CLASSES), preprocessing=preprocessing,
                               epochs=40, batch_size=4)
  opened = reader.open(reader.dataset(examples.x, examples.y, seed=9))
  shares = []
  for index in range(int(opened.num_batches)):
    (x, y), (mixed, mixed_y) = opened.batch(index), opened.mixed_batch(index)
    share = float(mixed_y.share)
    shares.append(share)
    np.testing.assert_allclose(mixed, share * x + (1 - share) * np.roll(x, 1, axis=0), atol=1e-6)
    np.testing.assert_array_equal(mixed_y.first, y)
    np.testing.assert_array_equal(mixed_y.second, np.roll(y, 1))
  # Beta(1/2, 1/2) has mean 1/2, variance 1/8, and a third of its mass below 1/4.
  assert abs(np.mean(shares) - 0.5) < 0.06 and abs(np.var(shares) - 0.125) < 0.02
  assert abs(np.mean(np.array(shares) < 0.25) - 1 / 3) < 0.08
  again = reader.open(reader.dataset(examples.x, examples.y, seed=9)).mixed_batch(3)
  np.testing.assert_array_equal(again[0], opened.mixed_batch(3)[0])


@pytest.mark.parametrize(('fields', 'said'), [
    ({'augment_rotation': -1}, 'augment_rotation'), ({'augment_rotation': 200}, '180'),
    ({'augment_scale': 1.0}, 'augment_scale'), ({'augment_erasing': 1.5}, 'augment_erasing'),
    ({'augment_mixup': float('nan')}, 'augment_mixup')])
def test_bad_settings_are_one_sentence(fields, said):
  with pytest.raises(ValueError, match=said):
    configs.DataConfig(**fields)


def test_what_has_no_effect_or_breaks_a_promise_is_refused():
  with pytest.raises(ValueError, match='every example by itself'):
    configs.ExperimentConfig(data=configs.DataConfig(augment_mixup=0.2),
                             privacy=configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0,
                                                           noise_multiplier=1.0))
  with pytest.raises(ValueError, match='task=embedding'):
    configs.ExperimentConfig(data=configs.DataConfig(augment_mixup=0.2), task=configs.TaskConfig(task='embedding'))
  with pytest.raises(ValueError, match='augment_brightness=0.1 has no effect with preprocess=per_image'):
    build.build(configs.DataConfig(augment_brightness=0.1, preprocess='per_image'), seed=0)
  task = tiny.task()
  mixing = dataclasses.replace(task, images=dataclasses.replace(task.images, preprocessing=images.Preprocessing(
      augmentation=Augmentation(mixup=1.0))))
  with pytest.raises(ValueError, match='augment_mixup=1'):
    mixing.client_batches(0, 1)


def test_a_config_augments_images_in_their_own_range():
  made = build.build(configs.DataConfig(augment_brightness=0.1, augment_rotation=5.0), seed=0)
  assert made.preprocessing.augmentation == Augmentation(brightness=0.1, rotation=5.0)
  stored = build.build(configs.DataConfig(augment_brightness=0.1, preprocess='none'), seed=0)
  assert stored.preprocessing.augmentation.white == stored.stored_pixels.white
  own = tiny.federated_images()
  given_again = build.build(configs.DataConfig(dataset=own, augment_contrast=0.2), seed=0)
  assert given_again.preprocessing.augmentation.contrast == 0.2 and own.preprocessing == images.Preprocessing()
  assert 'augmentation' in given_again.describe()['preprocessing']
  assert 'augmentation' not in own.describe()['preprocessing']
