"""A page about data before anything is trained: sizes, class mix and a few images of the clients, as in report.html."""

import os
from collections.abc import Mapping, Sequence
from typing import Any

from tff_vision.data import images as images_lib
from tff_vision.report import number_format as numbers
from tff_vision.report import pages, partition, run_charts, tables

_SPREADS = {'examples_per_client': 'images of a client', 'labels_per_client': 'labels of a client',
            'total_variation': 'total variation from the mix of all clients',
            'total_variation_of_iid': 'the same of IID clients of these sizes'}


def write_html(path: os.PathLike | str, images: images_lib.FederatedImages, described: Mapping[str, Any], *,
               title: str) -> None:
  """Writes the page; an existing one is replaced atomically.

  Args:
    path: The file.
    described: The result of `data_summary.describe` for these images.

  Raises:
    ValueError: The file cannot be written.
  """
  mix = partition.class_mix(images)
  pages.write(path, pages.render('data.html.j2', dict(
      title=title, figures={'mix': run_charts.class_mix(mix)}, mix=mix, spreads=_spreads(described),
      counts=_counts(described), classes=_classes(described), notes=described['notes'],
      samples=partition.sample_images(images))))


def _spreads(described):
  keys = list(described['examples_per_client'])
  return tables.Table(caption='Over clients', header=['', *keys], rows=[
      [words, *(numbers.data(described[name][key]) for key in keys)] for name, words in _SPREADS.items()])


def _counts(described):
  rows: Sequence[tuple[str, Any]] = [
      ('clients', described['clients']), ('training images', described['train_examples']),
      ('test images', described['test_examples']),
      ('clients with test images of their own', described['clients_with_test_examples']),
      ('clients that never train', described['unseen_clients']), ('their images', described['unseen_examples'])]
  shape = ' × '.join(map(str, described['image_shape']))
  return tables.Table(caption='What there is', header=['', 'number'], rows=[
      *([name, numbers.data(value)] for name, value in rows), ['height × width × channels', shape]])


def _classes(described):
  whole = described['train_examples'] or 1
  return tables.Table(caption='Classes among training images', header=['class', 'images', 'share'], rows=[
      [name, numbers.data(count), numbers.data(count / whole, numbers.percent(count / whole))]
      for name, count in described['class_counts'].items()])
