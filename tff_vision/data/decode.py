"""Image files to pixels: PNG, JPEG, GIF (first frame) and BMP, of any size, grey or colour.

Training, evaluation and prediction on a file all read through `read`, so a file gives the same pixels everywhere.
Orientation tags (EXIF) are not applied.
"""

import os
import pathlib
import typing

import numpy as np

if typing.TYPE_CHECKING:
  import tensorflow as tf

SUFFIXES = ('.png', '.jpg', '.jpeg', '.gif', '.bmp')
# First and last bytes of a whole file. A GIF may carry bytes after its trailer and a BMP has none.
_FRAMES = {b'\x89PNG\r\n\x1a\n': b'IEND\xaeB\x60\x82', b'\xff\xd8\xff': b'\xff\xd9', b'GIF8': b'', b'BM': b''}
_TAIL = 4096


def read(path: str | pathlib.Path, shape: tuple[int, int, int] | None = None) -> np.ndarray:
  """Returns one image, uint8 [height, width, 1 or 3]; transparency is dropped.

  Args:
    path: The file.
    shape: (height, width, channels) to bring it to: resized bilinearly with antialiasing, colour turned to grey
      by Rec. 601 luma, grey repeated. None keeps what is stored.

  Raises:
    ValueError: The file is missing, no image, or corrupt.
  """
  import tensorflow as tf  # Late: listing files needs none of it.
  try:
    with open(path, 'rb') as data:
      image = tf.io.decode_image(data.read(), expand_animations=False)
  except OSError as error:
    raise ValueError(f'{path} cannot be read ({error.strerror}).') from error
  except tf.errors.InvalidArgumentError as error:
    raise ValueError(f'{path} is no PNG, JPEG, GIF or BMP image, or it is corrupt.') from error
  if shape is None:
    return _without_alpha(image).numpy()
  return fitted(image, shape).numpy()


def fitted(image: 'tf.Tensor', shape: tuple[int, int, int]) -> 'tf.Tensor':
  """Returns a decoded image, uint8 [height, width, 1..4], as `read` does; also in a graph that knows no shape.

  Args:
    image: What `tf.io.decode_image` returns.
    shape: (height, width, channels) to bring it to.
  """
  import tensorflow as tf
  image = _without_alpha(image)
  if image.shape == shape:
    return image
  image = tf.cast(image, tf.float32)
  grey = tf.shape(image)[-1] == 1
  if shape[-1] == 1:
    image = tf.cond(grey, lambda: image, lambda: tf.image.rgb_to_grayscale(image[..., :3]))
  else:
    image = tf.cond(grey, lambda: tf.repeat(image, 3, axis=-1), lambda: image)
  image = tf.image.resize(tf.ensure_shape(image, [None, None, shape[-1]]), shape[:2], antialias=True)
  return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)


def _without_alpha(image):
  import tensorflow as tf
  channels = tf.shape(image)[-1]
  return image[..., :channels - 1 + channels % 2]


def looks_whole(path: str | pathlib.Path) -> bool:
  """Returns whether a file begins and ends as an image does: finds the empty, the foreign and the truncated.

  It reads a few bytes only; damage in the middle shows when the file is decoded.
  """
  try:
    with open(path, 'rb') as data:
      head = data.read(8)
      size = data.seek(0, os.SEEK_END)
      data.seek(max(0, size - _TAIL))
      tail = data.read()
  except OSError:
    return False
  return any(head.startswith(first) and last in tail for first, last in _FRAMES.items())
