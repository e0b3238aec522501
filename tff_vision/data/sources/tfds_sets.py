"""Data sets made by the unpatched builders of TensorFlow Datasets.

On a machine without a network, TFDS tries for 205 seconds before it gives up, and its downloads cannot be distinguished
from a crash. So archives are fetched by `tff_vision.data.sources.fetch` (or placed by hand) and given to the builder
as its `manual_dir`, where it verifies them again.
"""

import contextlib
import dataclasses
import os
import pathlib
import sys

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import fetch


@dataclasses.dataclass(frozen=True, kw_only=True)
class TfdsSet:
  """One builder.

  Attributes:
    builder: The name of the builder, with its configuration if it has several.
    archives: The files that it downloads, as registered in TFDS.
    hint: One more sentence for a user who does not have the files.
  """
  builder: str
  archives: tuple[fetch.RemoteFile, ...]
  hint: str = ''


def load(tfds_set: TfdsSet, data_dir: str | None) -> tuple[images.Examples, images.Examples]:
  """Returns the training and the test examples; prepares the set first if that has not been done.

  Raises:
    ValueError: The archives are not here and cannot be fetched, or one of them is not the registered file.
  """
  prepared = _prepared(tfds_set, data_dir)
  if prepared is None:
    archives = _archives_folder(tfds_set, data_dir)
    try:
      for remote in tfds_set.archives:
        fetch.fetch(remote, archives)
    except ValueError as error:
      raise ValueError(' '.join([str(error), *_advice(tfds_set, archives)])) from error
    prepared = fetch.cache_dir(data_dir) / 'tfds'
    with fetch.locked(prepared / tfds_set.builder.replace('/', '-')):
      return _read(tfds_set, prepared, archives)
  return _read(tfds_set, prepared, None)


def locate(tfds_set: TfdsSet, data_dir: str | None) -> tuple[bool, str]:
  """Returns whether the set or its archives are here, and where or how to get them."""
  if (prepared := _prepared(tfds_set, data_dir)) is not None:
    return True, str(prepared / tfds_set.builder)
  folder = _archives_folder(tfds_set, data_dir)
  for remote in tfds_set.archives:
    if not (folder / remote.name).is_file():
      return False, ' '.join([fetch.instructions(remote, folder / remote.name), *_advice(tfds_set, folder)])
  return True, str(folder)


def _advice(tfds_set, folder):
  others = [f'{remote.url} ({remote.digest})' for remote in tfds_set.archives if not (folder / remote.name).is_file()]
  if len(others) > 1:
    yield f'All of these belong into that folder: {", ".join(others)}.'
  if tfds_set.hint:
    yield tfds_set.hint


def _read(tfds_set, prepared, archives):
  import tensorflow_datasets as tfds  # Imported late: the import takes seconds.
  tfds.display_progress_bar(False)
  builder = tfds.builder(tfds_set.builder, data_dir=prepared)
  if archives is not None:
    config = tfds.download.DownloadConfig(manual_dir=archives, try_download_gcs=False)
    with contextlib.redirect_stdout(sys.stderr):  # TFDS prints messages to stdout.
      builder.download_and_prepare(download_config=config)
  splits = []
  for split in ('train', 'test'):
    found = tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
    splits.append(images.Examples(found['image'], found['label'].astype(np.int32)))
  return tuple(splits)


def _prepared(tfds_set, data_dir):
  """Returns the TFDS folder that holds the finished set, or None."""
  own = fetch.cache_dir(data_dir)
  places = [own / 'tfds', own] if data_dir else [
      own / 'tfds', pathlib.Path(os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets').expanduser()]
  for place in places:
    if any((place / tfds_set.builder).glob('*/dataset_info.json')):
      return place
  return None


def _archives_folder(tfds_set, data_dir):
  """Returns the folder with the archives, or the set's own folder for them, since all MNIST files have equal names."""
  folder = fetch.cache_dir(data_dir)
  own = folder / tfds_set.builder.partition('/')[0]
  return folder if all((folder / remote.name).is_file() for remote in tfds_set.archives) else own
