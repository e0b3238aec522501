"""Decodes image files: PNG, JPEG, GIF and WebP (first frame), BMP and TIFF (one page), of any size.

Training, evaluation and prediction on a file all use this module, so a file gives the same pixels everywhere.
Orientation tags (EXIF) are applied. TensorFlow decodes PNG, JPEG and GIF, as in a served model. Pillow decodes the
other formats, because TensorFlow ignores their palettes or does not support them.
"""

import io
import pathlib
import typing

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import formats

if typing.TYPE_CHECKING:
  import tensorflow as tf

SUFFIXES = formats.SUFFIXES
_ORIENTATION = 0x0112
_BITS_PER_SAMPLE = 258
# A 16-bit image without a value above this uses fewer bits, and the file does not say how many.
_HOLDS_16_BITS = 0x3fff
_TAGGED_WITHIN = 1 << 17


def read(path: str | pathlib.Path, shape: tuple[int, int, int] | None = None, *,
         stored: images.StoredPixels = images.StoredPixels()) -> np.ndarray:  # noqa: B008  Frozen.
  """Returns one image, [height, width, 1 or 3]; transparency is dropped.

  Args:
    path: The file.
    shape: (height, width, channels) of the result. The image is resized bilinearly with antialiasing; colour is turned
      to grey by Rec. 601 luma; grey is repeated. None keeps the stored shape.
    stored: How values become pixels. Without a `window` the image is uint8, and the upper 8 bits of a 16-bit file are
      taken; with a window the image is float32 in 0..1.

  Raises:
    ValueError: The file is missing, not an image of a supported format, or corrupt; it has values that the window does
      not expect; or it has 16 bits and its upper 8 bits would show nothing.
  """
  image = native(path)
  if stored.window is None:
    image = _eight_bits(image, path)
    return image if shape is None or image.shape == shape else fitted(image, shape).numpy()
  image = _windowed(image, stored, path)
  return image if shape is None or image.shape == shape else fitted(image, shape).numpy()


def as_stored(path: str | pathlib.Path, shape: tuple[int, int, int], stored: images.StoredPixels) -> np.ndarray:
  """Returns a file's image as input for the model of a data set: float32 of `shape`, in the set's own range.

  Raises:
    ValueError: As `read`; or the data set has no known black and white, so no file can be brought to its range.
  """
  if stored.black is None or stored.white is None:
    raise ValueError(f'{path} cannot be given to this model: it was trained on arrays of floats that say of no value '
                     'that it is black or white. Train with pixel_range=BLACK,WHITE, the values that are.')
  pixels = read(path, shape, stored=stored).astype(np.float32)
  return stored.black + pixels * ((stored.white - stored.black) / (255 if stored.window is None else 1))


def native(path: str | pathlib.Path) -> np.ndarray:
  """Returns one image with the values in its file, upright: uint8, uint16 or float32 [height, width, 1 or 3].

  Raises:
    ValueError: The file is missing, not an image of a supported format, or corrupt.
  """
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ValueError(f'{path} cannot be read ({error.strerror}).') from error
  kind = formats.kind_of(content[:32])
  if not kind and (other := formats.unread_kind(content[:512], path)):
    raise ValueError(f'{path} is a file of the format {other}, which is not read: save it as {formats.READ}.')
  image = (_by_tensorflow if kind in ('PNG', 'JPEG', 'GIF') else _by_pillow)(content, kind, path)
  return np.ascontiguousarray(image if image.shape[-1] in (1, 3) else image[..., :image.shape[-1] - 1])


def fitted(image: 'tf.Tensor', shape: tuple[int, int, int]) -> 'tf.Tensor':
  """Returns a decoded image, [height, width, 1..4], in another shape; also works in a graph with unknown shapes.

  Args:
    image: uint8, which stays uint8, or float32.
    shape: (height, width, channels) of the result.
  """
  import tensorflow as tf
  image = without_alpha(tf.convert_to_tensor(image))
  whole_numbers = image.dtype == tf.uint8
  if image.shape == shape:
    return image
  image = tf.cast(image, tf.float32)
  grey = tf.shape(image)[-1] == 1
  if shape[-1] == 1:
    image = tf.cond(grey, lambda: image, lambda: tf.image.rgb_to_grayscale(image[..., :3]))
  else:
    image = tf.cond(grey, lambda: tf.repeat(image, 3, axis=-1), lambda: image)
  image = tf.image.resize(tf.ensure_shape(image, [None, None, shape[-1]]), shape[:2], antialias=True)
  return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8) if whole_numbers else image


def without_alpha(image: 'tf.Tensor') -> 'tf.Tensor':
  """Returns an image of 1..4 channels without its alpha channel."""
  import tensorflow as tf
  channels = tf.shape(image)[-1]
  return image[..., :channels - 1 + channels % 2]


def looks_whole(path: str | pathlib.Path) -> bool:
  """Returns whether a file begins and ends like an image. This finds empty files, other formats and truncated files.

  It reads only a few bytes; damage in the middle is found when the file is decoded.
  """
  return formats.glance(path).whole


def _corrupt(path):
  return ValueError(f'{path} is no {formats.READ} image, or it is corrupt.')


def _by_tensorflow(content, kind, path):
  import tensorflow as tf  # Imported late: listing files does not need it.
  try:
    if kind == 'PNG' and content[24:25] == b'\x10':
      image = tf.io.decode_png(content, dtype=tf.uint16).numpy()
    else:
      image = tf.io.decode_image(content, expand_animations=False).numpy()
  except tf.errors.InvalidArgumentError as error:
    raise _corrupt(path) from error
  if any(mark in content[:_TAGGED_WITHIN] for mark in (b'Exif', b'eXIf', b'Orientation')):
    image = _upright(image, _orientation(content))
  return image


def _orientation(content):
  from PIL import Image
  try:
    with Image.open(io.BytesIO(content)) as image:
      return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # The tag is broken in some way, but the image itself is complete.
    return 1


def _by_pillow(content, kind, path):
  from PIL import Image
  if not kind:
    raise _corrupt(path)
  try:
    with Image.open(io.BytesIO(content), formats=('BMP', 'DIB', 'WEBP', 'TIFF')) as image:
      pages = getattr(image, 'n_frames', 1) if kind == 'TIFF' else 1
      deep_colour = kind == 'TIFF' and image.mode not in ('I', 'F', 'I;16', 'I;16B') and max(
          image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
      image.load()
      orientation = image.getexif().get(_ORIENTATION, 1)
      pixels = _of_mode(image)
  except Image.DecompressionBombError as error:
    raise ValueError(f'{path} is too large: {error}') from error
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise _corrupt(path) from error
  if pages > 1:
    raise ValueError(f'{path} has {pages} pages, and a TIFF of one page is read: save each as an image of its own.')
  if deep_colour:
    raise ValueError(f'{path} is a TIFF of 16 bits a colour, which is not read: save it as PNG.')
  return _upright(pixels, orientation)


def _of_mode(image):
  """Returns the pixels of a Pillow image as an array of 1, 3 or 4 channels."""
  if image.mode.startswith('I') or image.mode == 'F':
    pixels = np.asarray(image)
    if image.mode != 'F' and pixels.size and 0 <= pixels.min() and pixels.max() < 1 << 16:
      return pixels.astype(np.uint16)[..., np.newaxis]
    return pixels.astype(np.float32)[..., np.newaxis]
  grey = image.mode in ('1', 'L', 'LA', 'La')
  pixels = np.asarray(image.convert('L' if grey else 'RGB'))
  return pixels[..., np.newaxis] if grey else pixels


def _upright(image, orientation):
  """Returns the sensor's image, rotated or mirrored for display as its EXIF tag says."""
  turned = {2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
            5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1),
            7: lambda x: x[::-1, ::-1].swapaxes(0, 1), 8: lambda x: np.rot90(x, 1)}
  return turned[orientation](image) if orientation in turned else image


def _eight_bits(image, path):
  if image.dtype == np.uint8:
    return image
  if image.dtype == np.uint16 and image.max() > _HOLDS_16_BITS:
    return (image >> 8).astype(np.uint8)
  raise ValueError(f'{path} is no image of 8 bits: it holds values in {image.min():g}..{image.max():g}. Save it with 8 '
                   'bits, as the images that the model was trained on.')


def _windowed(image, stored, path):
  """Returns the image mapped by the window, float32 in 0..1."""
  if image.dtype == np.uint8 and stored.eight_bit is None:
    raise ValueError(f'{path} has 8 bits, and the images that the model was trained on have more: nothing tells which '
                     'of their values its black and white are. Give it as it was before.')
  low, high = stored.window if image.dtype != np.uint8 else stored.eight_bit
  if not stored.clips and image.size and (image.max() > high or image.min() < low):
    raise ValueError(f'{path} holds values in {image.min():g}..{image.max():g}, other images {low:g}..{high:g}: say '
                     'which values are black and white with pixel_range=BLACK,WHITE.')
  return np.clip((image.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
