"""Road scenes know their truth: boxes are the extents of what masks show, and clients differ."""

import numpy as np

from tff_vision import labels
from tff_vision.data.generators import road, road_scene


def test_boxes_are_the_extents_of_the_visible_pixels():
  rng = np.random.default_rng(0)
  seen = 0
  for camera in road.CAMERAS.values():
    for _ in range(6):
      x, scene = road.photograph(rng, camera)
      assert x.shape == (64, 64, 3) and x.dtype == np.uint8 and scene.mask.max() < len(road.MASK_CLASSES)
      for (top, left, bottom, right), kind in zip(scene.boxes.astype(int), scene.kinds, strict=True):
        inside = scene.mask[top:bottom, left:right] == 2 + kind
        # Each edge of a box shows its object.
        assert inside[0].any() and inside[-1].any() and inside[:, 0].any() and inside[:, -1].any()
        seen += 1
  assert seen > 40


def test_the_set_is_the_same_each_time_and_differs_by_camera(tmp_path):
  boxes, masks = (road.pool(seed=1, masks=masks, data_dir=str(tmp_path)) for masks in (False, True))
  assert boxes.spec.label_shape == (road.MOST_OBJECTS, 5) and boxes.class_names == road_scene.KINDS
  assert masks.spec.labels is labels.Kind.MASK and np.array_equal(boxes.train.x, masks.train.x)
  assert not boxes.check_labels('road')
  assert (len(boxes.train), len(boxes.test)) == (840, 240)
  assert np.array_equal(road._draw(1)['test_x'], boxes.test.x)
  light = {name: boxes.train.x[boxes.train_owners == name].mean() for name in road.CAMERAS}
  assert light['night_suburb'] < 0.5 * light['sunny_highway']
  numbers = (boxes.train.y[..., 4] >= 0).sum(axis=1)
  assert numbers.min() == 0 and numbers.max() >= 4, 'scenes without an object, and with several'
