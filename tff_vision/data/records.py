"""Stores the examples of one client in one TFRecord file, for workers that read their own disk.

A record is a `tf.train.Example` with the raw bytes of one image and of its label. Shapes and types are those of the
data set. Reading uses only TensorFlow's built-in kernels, so it runs in any executor.
"""

import errno
import os
import pathlib
from collections.abc import Iterable

import numpy as np
import tensorflow as tf

from tff_vision import labels
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
  """Writes the examples of all parts in order, one part in memory at a time; the file appears when it is complete.

  Raises:
    OSError: It cannot be written, such as on a full disk.
  """
  part = path.with_suffix('.part')
  try:
    with tf.io.TFRecordWriter(str(part)) as writer:
      for x, y in (pair for examples in parts for pair in zip(examples.x, examples.y, strict=True)):
        feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
                   for name, value in (('x', x), ('y', y))}
        writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
  except tf.errors.OpError as error:
    part.unlink(missing_ok=True)
    full = isinstance(error, tf.errors.ResourceExhaustedError)
    raise OSError(errno.ENOSPC if full else errno.EIO, os.strerror(errno.ENOSPC) if full else error.message,
                  str(path)) from None
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
  fits = tf.equal(found, announced) | tf.equal(found, 0)  # In a graph, == may compare tensors as objects.
  return tf.debugging.Assert(fits, [tf.strings.join([
      'refused: client ', _client(path), ' was announced with ', tf.strings.as_string(announced), ' examples, and its '
      'file on the worker has ', tf.strings.as_string(found), '; begin a new run, which asks for the number.'])])


def bounded(path: tf.Tensor, found: tf.Tensor, most: int) -> tf.Operation:
  """Fails if a client's file has more examples than `most`, and does not tell how many; runs where the file is.

  `most` is a constant of the graph: could the caller choose it, its answers would tell the number.
  """
  return tf.debugging.Assert(found <= most, [tf.strings.join([
      'refused: client ', _client(path), f' has more training examples than the {most} for which the plan has room '
      '(most_examples).'])])


def read(path: tf.Tensor, spec: images.ImageSpec) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns all images and labels in the file `path`, in order; runs where the file is.

  Fails if an image or a label has another size than the data set's, or a label is no class of it.

  Args:
    path: Scalar string. A missing file counts as a file without examples.
    spec: Shape and type of one stored image and its label.
  """
  kinds = {'x': (spec.dtype, spec.shape), 'y': (spec.label_dtype, spec.label_shape)}
  keys = {name: tf.io.FixedLenFeature([], tf.string) for name in ('x', 'y')}

  def parse(record):
    parsed = tf.io.parse_single_example(record, keys)
    with tf.control_dependencies([_of_size(path, name, parsed[name], dtype, shape)
                                  for name, (dtype, shape) in kinds.items()]):
      parsed = {name: tf.identity(value) for name, value in parsed.items()}
    return tuple(tf.reshape(tf.io.decode_raw(parsed[name], dtype), shape) for name, (dtype, shape) in kinds.items())

  nothing = tuple(tf.zeros([0, *shape], dtype) for dtype, shape in kinds.values())
  file = _records(tf.io.matching_files(path))
  x, y = file.map(parse).batch(tf.maximum(_length(file), 1)).reduce(nothing, lambda _, everything: everything)
  if spec.labels is not labels.Kind.CLASS:
    return x, y
  known = tf.reduce_all((y >= 0) & (y < len(spec.class_names)))
  with tf.control_dependencies([tf.debugging.Assert(known, [tf.strings.join([
      'refused: client ', _client(path), ' has a label that is no class number of this run, which has '
      f'{len(spec.class_names)} classes, from 0; write its file anew.'])])]):
    return x, tf.identity(y)


def _of_size(path, name, value, dtype, shape):
  size, what = int(np.prod(shape)) * np.dtype(dtype).itemsize, {'x': 'an image', 'y': 'a label'}[name]
  return tf.debugging.Assert(tf.equal(tf.strings.length(value), size), [tf.strings.join([
      'refused: client ', _client(path), f' has {what} of ', tf.strings.as_string(tf.strings.length(value)),
      f' bytes, and this run has {size} ({"x".join(map(str, shape)) or "one number"} of {np.dtype(dtype).name}); write '
      'its file anew.'])])


def _client(path):
  """Returns the number of the client of a file, as text."""
  return tf.strings.regex_replace(path, r'.*client_0*([0-9]+)\.(?:[a-z]+\.)?tfrecord$', r'\1')


def _records(files):
  return tf.data.TFRecordDataset(files).with_options(one_element.options())


def _length(file):
  return file.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1)
