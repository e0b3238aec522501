"""Numbers about a split: by hand, and between IID and not."""

import numpy as np
import pytest

from tff_vision.data import images as images_lib
from tff_vision.report import data_picture, data_summary


def _images(per_client, class_names, test=1):
  y = np.concatenate([np.asarray(labels) for labels in per_client])
  y = y.astype(np.int32 if y.ndim == 1 else np.float32)
  ends = np.cumsum([0, *map(len, per_client)])
  pool = images_lib.Examples(np.zeros((len(y), 4, 4, 1), np.uint8), y)
  clients = [np.arange(start, end) for start, end in zip(ends, ends[1:], strict=False)]
  return images_lib.FederatedImages(
      name='made', class_names=class_names, notes=('A note.',),
      train=images_lib.ArrayClients(pool, clients, [f'${i}' for i in range(len(clients))]),
      test=images_lib.HeldOut(examples=pool.take(np.arange(test)),
                              clients=[np.arange(test), *[np.zeros(0, int)] * (len(clients) - 1)]))


def test_by_hand():
  images = _images([[0, 0, 0, 1], [1, 1, 1, 1]], ['a', 'b', 'never'])
  counts = data_summary.label_counts(images)
  np.testing.assert_array_equal(counts.counts, [[3, 1], [0, 4]])
  # All: 3/8 and 5/8. Client 0: 3/4 and 1/4, so half of 3/8 + 3/8; client 1: 0 and 1, the same.
  np.testing.assert_allclose(data_summary.total_variation(counts.counts), [0.375, 0.375])
  found = data_summary.describe(images, counts, seed=0)
  assert found['class_counts'] == {'a': 3, 'b': 5, 'never': 0}
  assert found['labels_per_client'] == {'min': 1, 'median': 1.5, 'mean': 1.5, 'max': 2}
  assert (found['clients_with_test_examples'], found['unseen_clients'], found['train_examples']) == (1, 0, 8)
  text = dict(data_summary.table(found))
  assert text['class mix'] == 'a: 3, b: 5, never: 0' and text['note'] == 'A note.'


def test_multi_label_counts_findings_and_compares_sets_of_them():
  images = _images([[[1, 1], [0, 0]], [[1, 0], [0, 0]]], ['nodule', 'effusion'])
  counts = data_summary.label_counts(images)
  np.testing.assert_array_equal(counts.labels, [[0, 0], [1, 0], [1, 1]])
  np.testing.assert_allclose(data_summary.total_variation(counts.counts), [0.25, 0.25])
  assert data_summary.describe(images, counts, seed=0)['class_counts'] == {'nodule': 2, 'effusion': 1}


def test_iid_clients_are_as_far_off_as_chance_alone():
  rng = np.random.default_rng(0)
  images = _images([rng.integers(0, 10, 40) for _ in range(600)], list('0123456789'))
  found = data_summary.describe(images, data_summary.label_counts(images), seed=1)
  assert found['total_variation']['mean'] == pytest.approx(found['total_variation_of_iid']['mean'], rel=0.1)
  assert found['total_variation']['mean'] > 0.1


def test_the_picture_is_whole_or_absent(tmp_path):
  images = _images([[0, 1, 1], [1]], ['$a', 'b'])
  data_picture.save(tmp_path / 'made.png', images, title='made')
  assert (tmp_path / 'made.png').read_bytes().startswith(b'\x89PNG')
  with pytest.raises(ValueError, match='made.nonsense'):
    data_picture.save(tmp_path / 'made.nonsense', images, title='made')
  assert [path.name for path in tmp_path.iterdir()] == ['made.png']
