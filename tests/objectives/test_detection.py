"""Detection against arithmetic by hand: heat maps, loss, decoding, and average precision of a small case."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from tests import tiny
from tff_vision import configs, labels, models
from tff_vision.configs import data_config, model_config, task_config
from tff_vision.models import check, pretrained
from tff_vision.objectives import average_precision, base, centre_points, detection

LOSS = base.per_example(centre_points.CentreLoss())


def rows(*boxes, room=3):
  y = labels.no_boxes(1, room)
  y[0, :len(boxes)] = np.reshape(boxes, (-1, 5))
  return y


def radius(height, width, overlap=0.7):
  """The largest move of both corners that keeps the overlap, found by trial."""
  tries = np.linspace(0, 1, 100_001)[:-1]
  area = height * width
  shifted = (height - tries) * (width - tries) / (2 * area - (height - tries) * (width - tries))
  inwards = (height - 2 * tries) * (width - 2 * tries) / area
  outwards = area / ((height + 2 * tries) * (width + 2 * tries))
  return tries[np.minimum(shifted, np.minimum(inwards, outwards)) >= overlap].max()


def test_heat_is_one_at_the_centre_and_falls_off_with_the_size_of_the_box():
  # In cells: rows 2 to 8, columns 0 to 4, of 10; the centre (5, 2) is the corner of the cell (5, 2).
  y = rows([0.2, 0, 0.8, 0.4, 1])
  heat, ignored = centre_points.heat_maps(tf.constant(y), tf.constant([10, 10]), 2)
  deviation = (2 * radius(6, 4) + 1) / 6
  for row in range(10):
    for column in range(10):
      expected = np.exp(-((row - 5)**2 + (column - 2)**2) / (2 * deviation**2))
      assert heat[0, row, column, 1].numpy() == pytest.approx(expected, abs=1e-4)
  assert not heat[..., 0].numpy().any() and not ignored.numpy().any()
  # Where two boxes of a class meet, the larger heat counts; a region to ignore has no heat, but covers its cells.
  both, ignored = centre_points.heat_maps(tf.constant(rows(
      [0.2, 0, 0.8, 0.4, 1], [0.3, 0.1, 0.7, 0.5, 1], [0.8, 0.05, 1, 0.2, labels.ignored_box(0)])),
      tf.constant([10, 10]), 2)
  other, _ = centre_points.heat_maps(tf.constant(rows([0.3, 0.1, 0.7, 0.5, 1])), tf.constant([10, 10]), 2)
  np.testing.assert_allclose(both, np.maximum(heat, other), atol=1e-6)
  assert np.argwhere(ignored[0, ..., 0]).tolist() == [[8, 0], [8, 1], [9, 0], [9, 1]]
  assert not ignored[..., 1].numpy().any()


def test_the_loss_by_hand():
  # One cell: a box of the whole image, class 0 of 2; the map says (0.5, 0.2) for the classes.
  logit = lambda chance: np.log(chance / (1 - chance))
  maps = np.float32([[[[logit(0.5), logit(0.2), 0.25, 3.0, 0.5, 0.1]]]])
  found = LOSS(rows([0, 0, 1, 1, 0]), maps).numpy()
  focal = -(0.5**2 * np.log(0.5)) - 0.2**2 * np.log(0.8)
  assert found == pytest.approx([focal + 0.1 * (0.75 + 2) + (0 + 0.4)], rel=1e-5)
  # Two equal boxes are one centre and twice the rest, divided by two.
  assert LOSS(rows([0, 0, 1, 1, 0], [0, 0, 1, 1, 0]), maps).numpy() == pytest.approx(
      [focal / 2 + 0.275 + 0.4], rel=1e-5)
  nothing = -(0.5**2 * np.log(0.5)) - 0.2**2 * np.log(0.8)
  assert LOSS(rows(), maps).numpy() == pytest.approx([nothing], rel=1e-5)
  assert LOSS(rows([0, 0, 1, 1, labels.ignored_box(0)]), maps).numpy() == pytest.approx(
      [-0.2**2 * np.log(0.8)], rel=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 5))
def test_a_loss_depends_on_its_own_example_only_and_not_on_padding(seed, batch, room):
  rng = np.random.default_rng(seed)
  y = labels.no_boxes(batch, 5)
  for label in y:
    for row in label[:rng.integers(0, 6)]:
      corners = np.sort(rng.random((2, 2)), axis=0)
      row[:] = [*corners[0], *corners[1], rng.integers(-3, 2)]
    label[label[:, 4] == -1] = [0, 0, 0, 0, -1]
  maps = (10 ** rng.uniform(-2, 3) * rng.normal(size=(batch, 4, 6, 6))).astype(np.float32)
  together = LOSS(y, maps).numpy()
  assert np.isfinite(together).all() and (together >= 0).all()
  for one in range(batch):
    padded = np.concatenate([y[one:one + 1], labels.no_boxes(1, room)], axis=1)
    np.testing.assert_allclose(LOSS(padded, maps[one:one + 1]), together[one:one + 1], rtol=1e-5)
  with tf.GradientTape() as tape:
    held = tf.Variable(maps)
    first = LOSS(y, held)[0]
  gradient = tape.gradient(first, held).numpy()
  assert np.isfinite(gradient).all() and not gradient[1:].any()


def perfect(y, classes, size):
  """Returns the maps of a model that knows the boxes."""
  heat, _ = centre_points.heat_maps(tf.constant(y), tf.constant(size), classes)
  maps = np.concatenate([np.where(heat.numpy() >= 1, 8, -8), np.zeros((len(y), *size, 4))], -1).astype(np.float32)
  for image, label in zip(maps, y, strict=True):
    for top, left, bottom, right in label[label[:, 4] >= 0, :4]:
      centre = np.array([(top + bottom) / 2 * size[0], (left + right) / 2 * size[1]])
      row, column = np.floor(centre).astype(int)
      image[row, column, classes:] = [(bottom - top) * size[0], (right - left) * size[1], *centre % 1]
  return maps


def test_decoding_gives_back_the_boxes():
  y = np.concatenate([rows([0.1, 0.2, 0.5, 0.9, 0], [0.55, 0.1, 0.95, 0.3, 2]), rows(), rows([0, 0, 0.3, 0.3, 1])])
  found = detection.decoded(perfect(y, 3, (6, 8)))
  np.testing.assert_allclose(found['scores'][:, :3], np.where(
      [[1, 1, 0], [0, 0, 0], [1, 0, 0]], 1 / (1 + np.exp(-8)), 1 / (1 + np.exp(8))), rtol=1e-3)
  for image, label in enumerate(y):
    order = found['classes'][image][found['scores'][image] > 0.5]
    for row in label[label[:, 4] >= 0]:
      place = order.tolist().index(row[4])
      np.testing.assert_allclose(found['boxes'][image, place], row[:4], atol=1e-5)
  # The neighbours of a peak are no peaks of their own: a sharp map has one detection in the peak's surroundings.
  maps = np.full((1, 5, 5, 5), -9, np.float32)
  maps[0, 2, 1:4, 0] = [1, 2, 1.5]
  assert (detection.decoded(maps)['scores'][0] > 0.5).sum() == 1


def test_average_precision_of_a_small_case():
  """Two images, one class. Detections by score: right, wrong, right; three true boxes, of which one is missed.

  Precision is 1 up to a recall of 1/3, and 2/3 up to 2/3: of 101 levels of recall, 34 are up to 1/3, 33 more up to 2/3.
  """
  y = np.concatenate([rows([0, 0, 0.5, 0.5, 0], [0.5, 0.5, 1, 1, 0]), rows([0, 0, 1, 1, 0])])
  found = {'boxes': np.float32([[[0, 0, 0.5, 0.5], [0.6, 0, 1, 0.3]], [[0, 0, 1, 0.6], [0, 0, 0, 0]]]),
           'scores': np.float32([[0.9, 0.8], [0.7, 0]]), 'classes': np.zeros((2, 2), np.int32)}
  measured = average_precision.measure(found, y, 2)
  half = (34 * 1 + 33 * 2 / 3) / 101
  assert measured.half_by_class == [pytest.approx(half), None] and measured.at_half == pytest.approx(half)
  # The last detection overlaps its box by 0.6: right at 0.5, 0.55 and 0.6, wrong above.
  assert measured.mean == pytest.approx((3 * half + 7 * 34 / 101) / 10)
  # A region to ignore takes the wrong detection away.
  y[0, 2] = [0.55, 0, 1, 0.4, labels.ignored_box(0)]
  assert average_precision.measure(found, y, 2).at_half == pytest.approx(67 / 101)
  nobody = average_precision.measure(found, labels.no_boxes(2, 1), 2)
  assert nobody.mean is None and nobody.by_class == [None, None]


def test_measures_and_values_of_clients():
  y = np.concatenate([rows([0.1, 0.2, 0.5, 0.9, 0]), rows([0.1, 0.2, 0.5, 0.9, 1]), rows()])
  learned = detection.build(task_config.TaskConfig(task='detection'), ('a', 'b'), labels.Kind.BOXES, None)
  maps = perfect(y, 2, (6, 8))
  found = learned.measure(maps, y)['evaluation']
  assert found['map'] == pytest.approx(1) and found['map_50'] == pytest.approx(1) and found['loss'] < 1e-3
  maps[1] = -8
  assert learned.measure(maps, y)['evaluation']['ap_by_class'] == [pytest.approx(1), 0]
  values = learned.client_values(maps, y, [np.array([0]), np.array([1]), np.array([2]), np.zeros(0, int)])
  assert values == [pytest.approx(1), 0, None, None]
  with pytest.raises(ValueError, match='one class each, which task=classification learns from'):
    detection.build(task_config.TaskConfig(task='detection'), ('a', 'b'), labels.Kind.CLASS, None)


@pytest.mark.parametrize('shape', [(64, 64, 3), (50, 70, 1), (17, 9, 3)])
def test_the_built_in_model_takes_any_size_and_starts_with_empty_maps(shape):
  model = models.MODELS['centernet_gn'](shape, 7)
  check.check(model, input_shape=shape, output_shape=detection.Detection(classes=3).output_shape(shape))
  rows, columns = model.output_shape[1:3]
  assert rows == 4 * -(-shape[0] // 16) and columns == 4 * -(-shape[1] // 16)
  maps = model(np.random.default_rng(0).random((2, *shape)).astype(np.float32)).numpy()
  assert 0.01 < tf.sigmoid(maps[..., :3]).numpy().mean() < 0.3


def test_models_of_other_outputs_are_refused(tmp_path):
  with pytest.raises(ValueError, match=r'returns \(3,\), the data needs \(any, any, 7\)'):
    check.check(tiny.linear((8, 8, 3), 3), input_shape=(8, 8, 3), output_shape=(None, None, 7))
  models.MODELS['centernet_gn']((16, 16, 3), 7).save(tmp_path / 'model.keras')
  load = lambda outputs: pretrained.load(str(tmp_path / 'model.keras'), frozen_layers='', input_shape=(16, 16, 3),
                                         num_outputs=outputs[-1], output_shape=outputs)
  assert load((None, None, 7)).build((), 0).output_shape[1:] == (4, 4, 7)
  assert load((None, None, 8)).build((), 0).output_shape[1:] == (4, 4, 8), 'of another number of classes: a new head'
  with pytest.raises(ValueError, match='for each of 16x16 cells'):
    load((16, 16, 7))
  for settings_, match in (({'model': 'mlp'}, 'model=centernet_gn'), ({'task': 'classification'}, 'task=detection'),
                           ({'example_shift': 2}, 'move images without their boxes')):
    with pytest.raises(ValueError, match=match):
      configs.ExperimentConfig(
          task=task_config.TaskConfig(task=settings_.get('task', 'detection')), data=data_config.DataConfig(),
          model=model_config.ModelConfig(model=settings_.get('model', 'centernet_gn')),
          privacy=configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0,
                                        example_shift=settings_.get('example_shift', 0)))
