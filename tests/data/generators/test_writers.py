"""Generated writers: what is fixed and what varies, the convention of TFF's EMNIST, and unseen writers."""

import numpy as np

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.generators import glyphs, writers


def test_every_font_has_every_character_within_its_box():
  assert len(glyphs.fonts()) == len(writers._FONT_WEIGHTS) and len(glyphs.CHARACTERS) == 62
  for font in glyphs.fonts():
    for character in glyphs.CHARACTERS:
      points = glyphs.points(font, character)
      assert len(points) > 3 and np.abs(points).max() < 25, (font, character)
      gaps = np.hypot(*np.diff(points, axis=0).T)
      assert np.median(gaps) <= glyphs._STEP


def test_one_is_a_stroke_and_zero_a_ring():
  """Known pixels of known characters, in a plain hand: light paper, dark ink, upright."""
  style = writers.draw_style(np.random.default_rng(0), heterogeneity=0.0)
  images = writers.write(style, np.array([0, glyphs.CHARACTERS.index('L')]), np.random.default_rng(1))
  assert images.shape == (2, 28, 28, 1) and images.dtype == np.uint8
  zero, ell = images[..., 0]
  for image in (zero, ell):
    assert (image[[0, -1]] == 255).all() and (image[:, [0, -1]] == 255).all() and image.min() < 40
  assert zero[12:16, 12:16].min() > 200  # Nothing in the middle of a zero.
  rows, columns = np.nonzero(ell < 128)
  # An L has its long stroke on the left and its short one at the bottom.
  assert (columns < 13).mean() > 0.5 and (rows > 18).mean() > 0.3


def test_a_writer_depends_on_seed_and_number_only(tmp_path):
  few = writers.pool(num_clients=2, seed=4, examples_per_client=20, data_dir=str(tmp_path))
  more = writers.pool(num_clients=5, seed=4, examples_per_client=20, data_dir=str(tmp_path))
  other = writers.pool(num_clients=2, seed=5, examples_per_client=20, data_dir=str(tmp_path))
  same = np.flatnonzero(np.isin(more.train_owners, ['writer_0000', 'writer_0001']))
  np.testing.assert_array_equal(few.train.x, more.train.x[same])
  np.testing.assert_array_equal(few.train.y, more.train.y[same])
  assert not np.array_equal(few.train.x[:10], other.train.x[:10])
  again = writers.pool(num_clients=2, seed=4, examples_per_client=20, data_dir=str(tmp_path))
  np.testing.assert_array_equal(few.test.x, again.test.x)
  assert len(list(tmp_path.glob('synthetic_emnist-v*-2x20-h1-s4.npz'))) == 1


def test_sizes_vary_and_every_writer_is_tested():
  pool = writers.pool(num_clients=40, seed=0, examples_per_client=30)
  sizes, tests = (np.unique(owners, return_counts=True)[1] for owners in (pool.train_owners, pool.test_owners))
  assert len(sizes) == len(tests) == 40 and tests.min() >= 1
  assert 20 < sizes.mean() < 32 and sizes.std() > 5 and (sizes + tests).min() >= 12
  assert set(pool.train.y) == set(range(62)) and pool.check_labels('x') == []


def test_writers_differ_as_heterogeneity_says():
  """Between writers, pictures of one character differ more than within one; with heterogeneity 0 they do not."""
  label = np.full(12, glyphs.CHARACTERS.index('A'))
  ratio = {}
  for h in (0.0, 1.0):
    hands = [writers.write(writers.draw_style(np.random.default_rng(w), h), label, np.random.default_rng(100 + w)) / 255
             for w in range(12)]
    within = np.mean([hand.var(axis=0).sum() for hand in hands])
    between = np.var([hand.mean(axis=0) for hand in hands], axis=0).sum()
    ratio[h] = between / within
  assert ratio[1.0] > 0.4 and ratio[0.0] < 0.2


def test_a_fifth_more_writers_are_unseen_with_natural_clients():
  config = configs.DataConfig(dataset='synthetic_emnist', partition='natural', num_clients=8)
  found = build.build(config, seed=0)
  assert len(found.train) == 8 and len(found.unseen.clients) == 2
  assert len(found.class_names) == 62 and len(found.unseen.examples) > len(found.test.examples) / 8
  none = build.build(configs.DataConfig(dataset='synthetic_emnist', partition='natural', num_clients=8,
                                        held_out_clients=0), seed=0)
  assert none.unseen is None
  # The run's seed is not the data's.
  np.testing.assert_array_equal(found.train.examples(0).x, build.build(config, seed=9).train.examples(0).x)
