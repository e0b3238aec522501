"""One client's examples in one TFRecord file, for workers that read their own disk.

A record is a `tf.train.Example` with the raw bytes of one image and of its label; shapes and types are the data
set's. Reading uses TensorFlow's built-in kernels only, so it runs in any executor.
"""

import pathlib

import tensorflow as tf

from tff_vision.data import images


def file_name(client: int) -> str:
  """Returns the name of the file of client number `client`; the client's own name stays out of it."""
  return f'client_{client:06d}.tfrecord'


def write(path: pathlib.Path, examples: images.Examples) -> None:
  """Writes `examples` in order; the file appears when it is complete."""
  part = path.with_suffix('.part')
  with tf.io.TFRecordWriter(str(part)) as writer:
    for x, y in zip(examples.x, examples.y, strict=True):
      feature = {name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.tobytes()]))
                 for name, value in (('x', x), ('y', y))}
      writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())
  part.replace(path)


def read(path: tf.Tensor, like: images.Examples) -> tuple[tf.Tensor, tf.Tensor]:
  """Returns all images and labels in the file `path`, in order; runs where the file is.

  Args:
    path: Scalar string. A file that is not there counts as one without examples.
    like: Gives the shapes and types of one image and one label; its values are not used.
  """
  keys = {name: tf.io.FixedLenFeature([], tf.string) for name in ('x', 'y')}

  def parse(record):
    parsed = tf.io.parse_single_example(record, keys)
    return tuple(tf.reshape(tf.io.decode_raw(parsed[name], array.dtype), array.shape[1:])
                 for name, array in (('x', like.x), ('y', like.y)))

  nothing = tuple(tf.zeros([0, *array.shape[1:]], array.dtype) for array in (like.x, like.y))
  file = tf.data.TFRecordDataset(tf.io.matching_files(path))
  count = file.reduce(tf.constant(0, tf.int64), lambda total, _: total + 1)
  return file.map(parse).batch(tf.maximum(count, 1)).reduce(nothing, lambda _, everything: everything)
