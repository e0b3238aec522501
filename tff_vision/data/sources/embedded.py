"""The handwritten digits of scikit-learn: real data on every machine."""


import numpy as np

from tff_vision import configs
from tff_vision.data import images
from tff_vision.data.sources import heldout, pool

_DARKEST = 16


def load(config: configs.DataConfig) -> pool.Pool:
  """Returns the 1,797 digits of 8x8 pixels, with 17 levels of grey spread over 0..255.

  They are the test part of «Optical Recognition of Handwritten Digits» (UCI).

  A share of every class is held out. The data has no writers, because they were omitted when it was published.

  Raises:
    ValueError: A folder was given.
  """
  if config.data_dir is not None:
    raise ValueError(f'data_dir={config.data_dir} has no effect with dataset=digits, which comes with scikit-learn; '
                     'dataset=folder, npz and idx read images of your own.')
  from sklearn import datasets  # Imported late: the import takes half a second.
  found = datasets.load_digits()
  pixels = np.rint(found.images[..., np.newaxis] * (255 / _DARKEST)).astype(np.uint8)
  everything = images.Examples(pixels, found.target.astype(np.int32))
  held_out = heldout.stratified(everything.y, config.test_fraction)
  return pool.Pool(train=everything.take(np.flatnonzero(~held_out)), test=everything.take(np.flatnonzero(held_out)),
                   class_names=[str(name) for name in found.target_names])


def locate(data_dir: str | None) -> tuple[bool, str]:
  """Returns (True, where): the digits are part of scikit-learn."""
  del data_dir
  return True, 'part of scikit-learn'
