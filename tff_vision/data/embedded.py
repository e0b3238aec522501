"""Handwritten digits that come with scikit-learn: real data on every machine."""


import numpy as np

from tff_vision import configs
from tff_vision.data import heldout, images, pool

_DARKEST = 16


def load(config: configs.DataConfig) -> pool.Pool:
  """Returns the 1,797 digits of 8x8 pixels in 0..1 (UCI «Optical Recognition of Handwritten Digits», test part).

  A share of every class is held out. The data has no writers: they were left out when it was published.
  """
  from sklearn import datasets  # Late: it takes half a second.
  found = datasets.load_digits()
  everything = images.Examples((found.images[..., np.newaxis] / _DARKEST).astype(np.float32),
                               found.target.astype(np.int32))
  held_out = heldout.stratified(everything.y, config.test_fraction)
  return pool.Pool(train=everything.take(np.flatnonzero(~held_out)), test=everything.take(np.flatnonzero(held_out)),
                   class_names=[str(name) for name in found.target_names])


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns (True, where): the digits are part of scikit-learn."""
  del data_dir
  return True, 'part of scikit-learn'
