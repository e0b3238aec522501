"""A client's file: what was written is read, and a file of another kind is refused in one sentence."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from tff_vision import labels
from tff_vision.data import images, records

SPEC = images.ImageSpec(shape=(2, 3, 1), dtype=np.uint8, class_names=('a', 'b', 'c'))


def examples(spec=SPEC, y=(0, 2, 1, 1)):
  x = np.random.default_rng(1).integers(0, 255, (4, *spec.shape)).astype(spec.dtype)
  return images.Examples(x, np.array(y, spec.label_dtype))


@pytest.mark.parametrize('split', ['train', 'validation'])
def test_what_is_written_is_read(split, tmp_path):
  path, written = tmp_path / records.file_name(7, split), examples()
  records.write(path, written)
  x, y = records.read(tf.constant(str(path)), SPEC)
  np.testing.assert_array_equal(x, written.x)
  np.testing.assert_array_equal(y, written.y)
  assert records.count(tf.constant(str(path))) == 4
  x, y = records.read(tf.constant(str(tmp_path / records.file_name(8, split))), SPEC)
  assert x.shape == (0, 2, 3, 1) and y.shape == (0,)


@pytest.mark.parametrize('change, said', [
    ({'shape': (3, 3, 1)}, 'client 7 has an image of 6 bytes, and this run has 9 (3x3x1 of uint8)'),
    ({'dtype': np.float32}, 'client 7 has an image of 6 bytes, and this run has 24 (2x3x1 of float32)'),
    ({'labels': labels.Kind.FINDINGS}, 'client 7 has a label of 4 bytes, and this run has 12 (3 of float32)'),
    ({'class_names': ('a', 'b')}, 'client 7 has a label that is no class number of this run, which has 2 classes'),
])
@pytest.mark.parametrize('split', ['train', 'test'])
def test_a_file_of_another_kind_is_refused(change, said, split, tmp_path):
  path = tmp_path / records.file_name(7, split)
  records.write(path, examples())
  with pytest.raises(tf.errors.InvalidArgumentError) as error:
    tf.function(records.read, autograph=False)(tf.constant(str(path)), spec=dataclasses.replace(SPEC, **change))
  assert f'refused: {said}' in str(error.value)


@pytest.mark.parametrize('kind, y', [
    (labels.Kind.MASK, np.full((4, 2, 3), labels.IGNORED, np.uint8)),
    (labels.Kind.NUMBER, np.array([-3.5, 0, 1e6, 2], np.float32)),
    (labels.Kind.BOXES, np.full((4, 2, labels.BOX_WIDTH), labels.NO_BOX, np.float32))])
def test_labels_that_are_no_classes_may_have_any_value(kind, y, tmp_path):
  written = images.Examples(examples().x, y)
  spec = images.ImageSpec.of(written, SPEC.class_names)
  assert spec.labels is kind
  path = tmp_path / records.file_name(1)
  records.write(path, written)
  np.testing.assert_array_equal(records.read(tf.constant(str(path)), spec)[1], y)
