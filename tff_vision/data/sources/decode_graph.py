"""Decodes image files inside a graph with TensorFlow's own kernels, equal to `decode.as_stored`.

A served model, to which clients send files, uses it. PNG, JPEG, GIF and BMP only: TensorFlow has no WebP and no TIFF.
"""

import tensorflow as tf

from tff_vision.data import images
from tff_vision.data.sources import decode

_ORIENTATION = 0x0112
_HOLDS_16_BITS = 0x3fff
_PADDING = b'\0' * 64  # Added so that the first bytes of a file can always be read, even if it is short.


def as_stored(content: tf.Tensor, shape: tuple[int, int, int], stored: images.StoredPixels) -> tf.Tensor:
  """Returns float32 of `shape` in the range given by `stored`, whose black and white must be known.

  The graph fails on a file that is not an image, on a BMP with a compressed palette, on a GIF whose first frame does
  not fill it, and on a 16-bit image that uses fewer bits if the model was trained on 8-bit images.

  Args:
    content: Scalar string, the content of a whole file.
  """
  head = tf.strings.substr(tf.strings.join([content, _PADDING]), 0, 25)
  deep = tf.logical_and(tf.strings.substr(head, 0, 4) == b'\x89PNG', tf.strings.substr(head, 24, 1) == b'\x10')
  if stored.window is None:
    with tf.control_dependencies([tf.cond(deep, lambda: _assert_16_bits(content), lambda: tf.constant(True))]):
      image = _eight_bits(content)
    unit = tf.cast(decode.fitted(_upright(image, content), shape), tf.float32) / 255
  else:
    image = tf.cond(deep, lambda: _windowed(tf.io.decode_png(content, dtype=tf.uint16), stored.window, stored.clips),
                    lambda: _windowed(_eight_bits(content), stored.eight_bit, stored.clips) if stored.eight_bit
                    else _refused(content))
    image = tf.ensure_shape(image, [None, None, None])
    unit = decode.fitted(_upright(image, content), shape)
  return stored.black + unit * (stored.white - stored.black)


def _eight_bits(content):
  image = tf.io.decode_image(content, expand_animations=False)
  canvas = [_number(content, 8, 2), _number(content, 6, 2)]
  filled = tf.logical_or(tf.strings.substr(tf.strings.join([content, _PADDING]), 0, 3) != b'GIF',
                         tf.reduce_all(tf.shape(image)[:2] == canvas))
  check = tf.debugging.Assert(filled, ['The first frame of this GIF is smaller than the whole: send it as PNG.'])
  with tf.control_dependencies([check] if check is not None else []):
    image = tf.identity(image)
  return _coloured(tf.ensure_shape(image, [None, None, None]), content)


def _assert_16_bits(content):
  largest = tf.reduce_max(tf.io.decode_png(content, dtype=tf.uint16))
  told = tf.debugging.Assert(tf.cast(largest, tf.int32) > _HOLDS_16_BITS, [
      'This 16-bit image holds fewer bits, and the model was trained on 8-bit images: send it with 8 bits.'])
  with tf.control_dependencies([told] if told is not None else []):
    return tf.constant(True)


def _refused(content):
  told = tf.debugging.Assert(False, ['This image has 8 bits, and those that the model was trained on have more.'])
  with tf.control_dependencies([told] if told is not None else []):
    return tf.cast(_eight_bits(content), tf.float32)


def _windowed(image, window, clips):
  low, high = window
  x = tf.cast(decode.without_alpha(image), tf.float32)
  checks = [] if clips else [tf.debugging.assert_less_equal(x, float(high), 'pixels beyond those of training images')]
  with tf.control_dependencies([check for check in checks if check is not None]):
    return tf.clip_by_value((x - low) / (high - low), 0.0, 1.0)


def _coloured(image, content):
  """Looks up the colours of a BMP with a palette, of which TensorFlow decodes only the indices; keeps other images."""
  bits = _number(content, 28, 2)
  palette = tf.logical_and(tf.strings.substr(content, 0, 2) == b'BM', bits == 8)
  return tf.cond(palette, lambda: _from_palette(image, content), lambda: image)


def _from_palette(image, content):
  check = tf.debugging.Assert(_number(content, 30, 4) == 0, ['A compressed BMP is not read: send it as PNG.'])
  with tf.control_dependencies([check] if check is not None else []):
    used = _number(content, 46, 4)
    used = tf.where(used == 0, 256, used)
    raw = tf.io.decode_raw(tf.strings.substr(content, 14 + _number(content, 14, 4), 4 * used), tf.uint8)
    colours = tf.reshape(raw, [-1, 4])[:, 2::-1]
    found = tf.gather(colours, tf.cast(image[..., 0], tf.int32))
    grey = tf.reduce_all(colours == colours[:, :1])
    return tf.cond(grey, lambda: found[..., :1], lambda: found)


def _number(content, start, size):
  """Returns the little-endian number of `size` bytes at `start`, or 0 if the file is too short."""
  part = tf.strings.substr(tf.strings.join([content, _PADDING]), start, size)
  raw = tf.cast(tf.io.decode_raw(part, tf.uint8), tf.int32)
  return tf.reduce_sum(raw * [256**place for place in range(size)])


def _upright(image, content):
  turned = [lambda: image, lambda: tf.reverse(image, [1]), lambda: tf.reverse(image, [0, 1]),
            lambda: tf.reverse(image, [0]), lambda: tf.transpose(image, [1, 0, 2]),
            lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [1]),
            lambda: tf.transpose(tf.reverse(image, [0, 1]), [1, 0, 2]),
            lambda: tf.reverse(tf.transpose(image, [1, 0, 2]), [0])]
  return tf.ensure_shape(tf.switch_case(_orientation(content) - 1, turned), [None, None, None])


def _orientation(content):
  """Returns the orientation 1..8 of a JPEG or a PNG by its EXIF tag, or else its XMP tag; 1 if there is none."""
  raw = tf.io.decode_raw(content, tf.uint8)
  size = tf.shape(raw)[0]
  byte = lambda place: tf.cast(tf.gather(raw, tf.clip_by_value(place, 0, size - 1)), tf.int32)
  found = tf.concat([_places(raw, b'Exif\0\0') + 6, _places(raw, b'eXIf') + 4], 0)
  start = tf.concat([found, [0]], 0)[0]
  little = byte(start) == ord('I')
  two = lambda place: tf.where(little, byte(place) + 256 * byte(place + 1), 256 * byte(place) + byte(place + 1))
  four = lambda place: tf.where(little, two(place) + 65536 * two(place + 2), 65536 * two(place) + two(place + 2))
  directory = start + tf.clip_by_value(four(start + 4), 0, size)
  entries = directory + 2 + 12 * tf.range(tf.clip_by_value(two(directory), 0, 512))
  tagged = (two(entries) == _ORIENTATION) & (tf.shape(found)[0] > 0)
  value = tf.concat([tf.boolean_mask(two(entries + 8), tagged), [_of_xmp(content)]], 0)[0]
  return tf.where((value >= 1) & (value <= 8), value, 1)


def _of_xmp(content):
  """Returns the digit of the first XMP orientation tag, as Pillow finds it; 1 if there is none."""
  # `\C` is one byte: the bytes of an image are no UTF-8.
  digit = tf.strings.regex_replace(content, r'^\C*?tiff:Orientation(?:="|>)([0-9])\C*$', r'\1', replace_global=False)
  return tf.cond(tf.strings.length(digit) == 1, lambda: tf.strings.to_number(digit, tf.int32), lambda: 1)


def _places(raw, mark):
  """Returns the positions of `mark` in the bytes `raw`."""
  length = tf.maximum(tf.shape(raw)[0] - len(mark) + 1, 0)
  matches = [raw[place:place + length] == letter for place, letter in enumerate(mark)]
  return tf.cast(tf.where(tf.reduce_all(tf.stack(matches), axis=0))[:, 0], tf.int32)
