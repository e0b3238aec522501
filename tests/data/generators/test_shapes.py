"""Colour shapes: balanced, distinct, learnable by shape and not by colour, with superclasses."""

import numpy as np

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.generators import shapes


def masks(c):
  """Returns where `c`'s shape is, on a fine grid of its own coordinates."""
  y, x = np.mgrid[-1.2:1.2:241j, -1.2:1.2:241j]
  return shapes._DEPTHS[c](x, y) > 0


def test_shapes_have_the_areas_of_geometry():
  cell = (2.4 / 240) ** 2
  area = {name: masks(c).sum() * cell for c, name in enumerate(shapes.CLASSES)}
  assert abs(area['disc'] - np.pi * 0.81) < 0.02
  assert abs(area['ring'] - np.pi * (0.95**2 - 0.45**2)) < 0.02
  for corners, name in ((3, 'triangle'), (4, 'square'), (5, 'pentagon')):
    assert abs(area[name] - corners / 2 * np.sin(2 * np.pi / corners)) < 0.02, name
  assert abs(area['cross'] - (2 * 0.6 * 1.9 - 0.36)) < 0.03
  for one in range(10):
    for other in range(one):
      overlap = (masks(one) & masks(other)).sum() / (masks(one) | masks(other)).sum()
      assert overlap < 0.9, (shapes.CLASSES[one], shapes.CLASSES[other])


def test_balanced_and_deterministic(tmp_path):
  one = shapes.pool(seed=1, train=200, test=50, data_dir=str(tmp_path))
  again = shapes.pool(seed=1, train=200, test=50)
  other = shapes.pool(seed=2, train=200, test=50)
  assert one.train.x.shape == (200, 32, 32, 3) and one.train.x.dtype == np.uint8
  assert (np.bincount(one.train.y) == 20).all() and (np.bincount(one.test.y) == 5).all()
  np.testing.assert_array_equal(one.train.x, again.train.x)
  assert not np.array_equal(one.train.x, other.train.x)
  assert one.check_labels('x') == []


def test_colour_says_nothing_about_the_class():
  x, y = (lambda pool: (pool.train.x / 255, pool.train.y))(shapes.pool(seed=0, train=2000, test=10))
  means = np.stack([x[y == c].mean(axis=(0, 1, 2)) for c in range(10)])
  # Ten means of 200 images, each of deviation about 0.2.
  assert means.std(axis=0).max() < 3 * 0.2 / np.sqrt(200)


def test_a_shape_stands_out_from_its_ground():
  paint, ground = shapes._colours(np.random.default_rng(0), 1000)
  distance = np.linalg.norm(paint - ground, axis=-1).ravel()
  assert distance.min() >= shapes._LEAST_CONTRAST * np.sqrt(3) - 1e-9


def test_superclasses_serve_pachinko():
  found = build.build(configs.DataConfig(dataset='synthetic_shapes', partition='pachinko', num_clients=30), seed=0)
  classes = [set(found.train.examples(client).y) for client in range(30)]
  coarse = [{shapes.COARSE_OF_CLASS[c] for c in own} for own in classes]
  assert np.mean([len(own) for own in coarse]) < 3 and len(set().union(*classes)) == 10
