"""The one look at all numbers finds what a look at each of them finds."""

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.learning import local_steps


@pytest.mark.parametrize('spoiled', [None, np.nan, np.inf, -np.inf, 1e30, -3e38, 1e-45])
def test_all_finite_is_exact(spoiled):
  parts = [np.linspace(-1, 1, 7, dtype=np.float32), np.zeros((3, 0), np.float32), np.ones((2, 5), np.float64)]
  if spoiled is not None:
    parts[0][4] = spoiled
  # Two infinities of opposite sign, which cancel in a sum.
  for these in (parts, [*parts, -parts[0]]):
    expected = all(np.isfinite(part).all() for part in these)
    assert _all_finite(these) == expected


def _all_finite(parts):
  traced = tf.function(lambda: local_steps.all_finite([tf.constant(part) for part in parts]))
  return bool(traced())


def test_doubles_beyond_float32_and_nothing_are_finite():
  assert _all_finite([np.float64(1e200)])
  assert not _all_finite([np.float64(np.inf)])
  assert _all_finite([])
