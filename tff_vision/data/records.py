"""Stores the examples of one client in one TFRecord file, for workers that read their own disk.

A record is a `tf.train.Example` with the raw bytes of one image and of its label. Shapes and types are those of the
data set. Reading uses only TensorFlow's built-in kernels, so it runs in any executor.
"""

import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tff_vision.data import images, one_element


def file_name(client: int, split: str = 'train') -> str:
  """Returns the name of the file of client number `client`; it does not contain the client's own name.

  Args:
    split: `train`, or `validation` or `test` for examples that the client does not train on.
  """
  return f'client_{client:06d}.tfrecord' if split == 'train' else f'client_{client:06d}.{split}.tfrecord'


def write(path: pathlib.Path, examples: images.Examples) -> None:
  """Writes `examples` in order; the file appears only when it is complete."""
  write_parts(path, [examples])


def write_parts(path: pathlib.Path, parts: Iterable[images.Examples]) -> None:
  """Writes the examples of all parts in order, one part in memory at a time; the file appears when it is complete."""
  part = path.with_suffix('.part')
  with tf.io.TFRecordWriter(str(part)) as writer:
    for x, y in (pair for examples in parts for pair in zip(examples.x, examples.y, strict=True)):
      feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
                 for name, value in (('x', x), ('y', y))}
      writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
  part.replace(path)


def count(path: tf.Tensor) -> tf.Tensor:
  """Returns the number of examples in the file `path`, int64 []; -1 if it is not there. Runs where the file is."""
  found = tf.io.matching_files(path)
  return tf.where(tf.size(found) > 0, _length(_records(found)), np.int64(-1))


def agreed(path: tf.Tensor, found: tf.Tensor, announced: tf.Tensor) -> tf.Operation:
  """Fails if a client's file has another number of examples than was announced; runs where the file is.

  The allowed cost of a round and the bounds on what a client sends are computed from the announced number. Nothing can
  be learned from a file that is empty or missing.

  Args:
    found, announced: int64 [].
  """
  client = tf.strings.regex_replace(path, r'.*client_0*([0-9]+)\.tfrecord$', r'\1')
  fits = tf.equal(found, announced) | tf.equal(found, 0)  # In a graph, == may compare tensors as objects.
  return tf.debugging.Assert(fits, [tf.strings.join([
      'refused: client ', client, ' was announced with ', tf.strings.as_string(announced), ' examples, and its file on '
      'the worker has ', tf.strings.as_string(found), '; begin a new run, which asks for the number.'])])


def read(path: tf.Tensor, spec: images.ImageSpec) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns all images and labels in the file `path`, in order; runs where the file is.

  Args:
    path: Scalar string. A missing file counts as a file without examples.
    spec: Shape and type of one stored image and its label.
  """
  kinds = {'x': (spec.dtype, spec.shape), 'y': (spec.label_dtype, spec.label_shape)}
  keys = {name: tf.io.FixedLenFeature([], tf.string) for name in ('x', 'y')}

  def parse(record):
    parsed = tf.io.parse_single_example(record, keys)
    return tuple(tf.reshape(tf.io.decode_raw(parsed[name], dtype), shape) for name, (dtype, shape) in kinds.items())

  nothing = tuple(tf.zeros([0, *shape], dtype) for dtype, shape in kinds.values())
  file = _records(tf.io.matching_files(path))
  return file.map(parse).batch(tf.maximum(_length(file), 1)).reduce(nothing, lambda _, everything: everything)


def _records(files):
  return tf.data.TFRecordDataset(files).with_options(one_element.options())


def _length(file):
  return file.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1)
