"""Chooses the images on which the ranges of an 8-bit model are measured."""

import itertools
import pathlib

import numpy as np

from tff_vision import labels, tasks
from tff_vision.data.sources import decode, listing, volumes
from tff_vision.export import formats

IMAGES = 200  # Enough images to measure the ranges of activations.


def from_test_images(task: tasks.Problem, count: int) -> formats.Calibration:
  """Returns the last `count` test images, which the parity check uses last; never training images.

  Raises:
    ValueError: The task has no test images.
  """
  if not len(task.images.test.examples):
    raise ValueError(f'{task.images.name} has no test images, on which the ranges of an 8-bit model are measured: give '
                     'image files (calibration_dir).')
  x = task.images.test.examples.x[-count:].astype(np.float32)
  return formats.Calibration(
      images=x, source=f'{len(x)} test images of {task.images.name}, which lie outside of any privacy guarantee')


def from_folder(task: tasks.Problem, folder: pathlib.Path, count: int) -> formats.Calibration:
  """Returns the first `count` image files below `folder`, resized to the size of the run's images.

  Raises:
    ValueError: There is no file, or a file is not an image.
  """
  paths = sorted(path for path in folder.rglob('*') if path.name.lower().endswith(decode.SUFFIXES)
                 and not any(map(listing.is_litter, path.relative_to(folder).parts)))[:count]
  if not paths:
    raise ValueError(f'calibration_dir={str(folder)!r} holds no image file.')
  every = (image for path in paths for image in _of_file(path, task.images.spec, task.images.stored_pixels))
  x = np.stack(list(itertools.islice(every, count)))
  return formats.Calibration(images=x.astype(np.float32), source=f'{len(x)} image files of the exporter\'s choice')


def _of_file(path, spec, stored):
  """Yields the images of a file as the model takes them; of a model of volumes, the whole file as one."""
  if spec.labels is not labels.Kind.VOLUME:
    yield from decode.all_as_stored(path, spec.shape, stored)
    return
  opened = decode.opened(path, stored)
  yield decode.in_range(opened.name, volumes.read(opened, spec.shape, stored), stored)
