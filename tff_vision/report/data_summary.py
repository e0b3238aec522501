"""Measures how far a partition is from IID: sizes, class mixes, total variation.

The total variation of a client is half the L1 distance between the shares of labels at the client and at all
training clients together: 0 is the same mix, 1 is no label in common. Even an IID client with few examples has a value
above 0, so the report also gives the value of IID clients of the same sizes. Total variation is used for label skew as
in Hsu et al. 2019, arXiv:1909.06335, section 3.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tff_vision import labels as labels_lib
from tff_vision import seeds, wording
from tff_vision.data import images as images_lib
from tff_vision.data import pieces


@dataclasses.dataclass(frozen=True, kw_only=True)
class LabelCounts:
  """The number of examples of each label at each client.

  Attributes:
    labels: [labels, findings] distinct sets of findings, or of classes in masks; for single-label data [classes, 1],
      the class numbers.
    counts: [clients, labels] training examples.
  """
  labels: np.ndarray
  counts: np.ndarray


def label_counts(images: images_lib.FederatedImages) -> LabelCounts:
  """Loads one client after another and counts its labels."""
  columns: dict[tuple[float, ...], np.ndarray] = {}
  for client in range(len(images.train)):
    y = labels_lib.tags(images.train.examples(client).y, len(images.class_names))
    for label, number in zip(*np.unique(y.reshape(len(y), -1), axis=0, return_counts=True), strict=True):
      key = tuple(label)
      if key not in columns:
        columns[key] = np.zeros(len(images.train), np.int64)
      columns[key][client] = number
  labels = sorted(columns)
  return LabelCounts(labels=np.array(labels), counts=np.stack([columns[label] for label in labels], axis=1))


def total_variation(counts: np.ndarray) -> np.ndarray:
  """Returns [clients], the distance of each row's shares from those of all rows; counts are [clients, labels]."""
  overall = counts.sum(axis=0) / counts.sum()
  return np.abs(counts / counts.sum(axis=1, keepdims=True) - overall).sum(axis=1) / 2


def describe(images: images_lib.FederatedImages, counts: LabelCounts, *, seed: int) -> dict[str, Any]:
  """Returns the whole summary as plain numbers.

  Args:
    images: The clients.
    counts: The label counts of the same images.
    seed: The seed of the IID clients for comparison.
  """
  sizes = counts.counts.sum(axis=1)
  rng = np.random.default_rng(seeds.derive(seed, 'describe data'))
  by_chance = rng.multinomial(sizes, counts.counts.sum(axis=0) / sizes.sum())
  return {
      'dataset': images.name, 'clients': len(sizes), 'train_examples': int(sizes.sum()),
      'image_shape': list(images.spec.shape), 'classes': list(map(str, images.class_names)),
      'test_examples': len(images.test.examples),
      'clients_with_test_examples': int(np.count_nonzero(pieces.Pieces.of(images.test.clients).sizes)),
      'unseen_clients': len(images.unseen.clients) if images.unseen else 0,
      'unseen_examples': len(images.unseen.examples) if images.unseen else 0,
      'examples_per_client': _spread(sizes), 'labels_per_client': _spread((counts.counts > 0).sum(axis=1)),
      'class_counts': dict(zip(map(str, images.class_names), _class_counts(counts, images), strict=True)),
      'total_variation': _spread(total_variation(counts.counts)),
      'total_variation_of_iid': _spread(total_variation(by_chance)), 'notes': list(images.notes)}


def table(described: Mapping[str, Any]) -> Sequence[tuple[str, str]]:
  """Returns the result of `describe` as pairs of a name and a text."""
  numbers = lambda name, form: '  '.join(f'{key} {value:{form}}' for key, value in described[name].items())
  counted = ', '.join(f'{name}: {count}' for name, count in described['class_counts'].items())
  test = (f'{wording.counted(described["test_examples"], "example")}; '
          f'{wording.counted(described["clients_with_test_examples"], "client")} with some of their own')
  unseen = f'{described["unseen_clients"]} with {wording.counted(described["unseen_examples"], "example")}'
  return [
      ('images', f'{"x".join(map(str, described["image_shape"]))}, '
                 f'{wording.counted(len(described["classes"]), "class")}'),
      ('clients', f'{described["clients"]} with {described["train_examples"]:,} training examples'),
      ('examples of a client', numbers('examples_per_client', ',.0f')),
      ('labels of a client', numbers('labels_per_client', '.0f')),
      ('total variation', numbers('total_variation', '.3f')),
      ('  of IID clients', numbers('total_variation_of_iid', '.3f')),
      ('class mix', counted), ('test set', test), ('clients that never train', unseen),
      *(('note', note) for note in described['notes'])]


def _spread(values):
  return {'min': float(values.min()), 'median': float(np.median(values)), 'mean': float(values.mean()),
          'max': float(values.max())}


def _class_counts(counts, images):
  """Returns [classes], the number of training examples of each class, or with each finding."""
  totals = counts.counts.sum(axis=0)
  if not images.spec.labels.has_one_tag:
    return [int(number) for number in totals @ counts.labels]
  return [int(totals[counts.labels[:, 0] == number].sum()) for number in range(len(images.class_names))]
