"""Turns the bytes of a file into images: the one place where this happens.

Training, evaluation and prediction on a file all use this module, so a file gives the same pixels everywhere. A file
has one image or several: the pages of a TIFF, the frames of a DICOM file, the slices of a volume. Orientation tags
(EXIF) are applied. TensorFlow decodes PNG, JPEG and GIF (the first frame), as in a served model; `pillow_files`,
`dicom` and `nifti` decode the other formats.
"""

import dataclasses
import io
import pathlib
import typing
from collections.abc import Callable, Sequence

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import formats, pillow_files

if typing.TYPE_CHECKING:
  import tensorflow as tf

SUFFIXES = formats.SUFFIXES
# A 16-bit image without a value above this uses fewer bits, and the file does not say how many.
_HOLDS_16_BITS = 0x3fff
_HEAD = 512


@dataclasses.dataclass(frozen=True)
class Contents:
  """The images in one file.

  Attributes:
    name: The file, for error messages.
    kind: Its format.
    content: Its bytes.
    count: The number of images.
    native: Function from a number from 0 to the image: uint8, uint16 or float32 [height, width, 1 or 3], upright.
      Raises ValueError if it is corrupt.
    brightness: Whether float32 is brightness in 0..1 already, by a window of the file or of the user.
  """
  name: str
  kind: str
  content: bytes = dataclasses.field(repr=False)
  count: int
  native: Callable[[int], np.ndarray]
  brightness: bool = False

  @property
  def series(self) -> int:
    """How many volumes follow each other in the file; 1 unless it is NIfTI."""
    if self.kind != 'NIfTI':
      return 1
    from tff_vision.data.sources import nifti
    return nifti.series(io.BytesIO(self.content))

  def shaped(self, index: int, shape: tuple[int, int, int] | None,
             stored: images.StoredPixels = images.StoredPixels()) -> np.ndarray:  # noqa: B008  Frozen.
    """Returns one image in the given shape; arguments and errors are those of `read`."""
    image = self.native(index)
    if self.brightness and image.dtype == np.float32:
      image = image if stored.window is not None else np.round(image * 255).astype(np.uint8)
    else:
      image = (_eight_bits(image, self.name) if stored.window is None else _windowed(image, stored, self.name))
    return image if shape is None or image.shape == shape else fitted(image, shape).numpy()


def contents(content: bytes, name: str | pathlib.Path,
             stored: images.StoredPixels = images.StoredPixels()) -> Contents:  # noqa: B008  Frozen.
  """Returns the images in a file's bytes.

  Args:
    content: The whole file.
    name: Its name, for error messages and for formats that the bytes do not tell.
    stored: The user's own window, if any, and the axis along which volumes are cut.

  Raises:
    ValueError: The file is not an image of a supported format, or is corrupt.
  """
  kind = formats.kind_of(content[:_HEAD], name)
  if not kind and (other := formats.unread_kind(content[:_HEAD], name)):
    raise ValueError(f'{name} is a file of the format {other}, which is not read: save it as {formats.READ}.')
  if not kind:
    raise _corrupt(name)
  try:
    count, native, brightness = _reader(content, kind, stored)
  except ValueError as error:
    raise _said(name, error) from error

  def checked(index):
    try:
      image = native(index)
    except ValueError as error:
      raise _said(name, error) from error
    return np.ascontiguousarray(image if image.shape[-1] in (1, 3) else image[..., :image.shape[-1] - 1])
  return Contents(str(name), kind, content, count, checked, brightness)


def _reader(content, kind, stored):
  """Returns the number of images, a function from a number to the image, and whether its floats are brightness."""
  if kind == 'DICOM':
    from tff_vision.data.sources import dicom  # Imported late: most data sets have no such files.
    return dicom.images(content, stored.chosen)
  if kind == 'NIfTI':
    from tff_vision.data.sources import nifti
    return *nifti.images(content, stored.chosen, stored.slice_axis), True
  if kind in ('PNG', 'JPEG', 'GIF'):
    return 1, lambda _: _by_tensorflow(content, kind), False
  return *pillow_files.images(content, kind), False


def read(path: str | pathlib.Path, shape: tuple[int, int, int] | None = None, *,
         stored: images.StoredPixels = images.StoredPixels()) -> np.ndarray:  # noqa: B008  Frozen.
  """Returns the first image of a file, [height, width, 1 or 3]; transparency is dropped.

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
  return opened(path, stored).shaped(0, shape, stored)


def as_stored(path: str | pathlib.Path, shape: tuple[int, int, int], stored: images.StoredPixels) -> np.ndarray:
  """Returns the only image of a file as input for the model of a data set; arguments as of `all_as_stored`.

  Raises:
    ValueError: As `all_as_stored`; or the file holds several images.
  """
  found = all_as_stored(path, shape, stored)
  if len(found) > 1:
    raise ValueError(f'{path} holds {len(found)} images, pages, frames or slices, and one is read here: save each as a '
                     'file of its own.')
  return found[0]


def all_as_stored(path: str | pathlib.Path, shape: tuple[int, int, int], stored: images.StoredPixels
                  ) -> Sequence[np.ndarray]:
  """Returns a file's images as input for the model of a data set: each float32 of `shape`, in the set's own range.

  Args:
    path: The file.
    shape: (height, width, channels) of the results.
    stored: The set's own range.

  Raises:
    ValueError: As `read`; or the data set has no known black and white, so no file can be brought to its range.
  """
  found = opened(path, stored)
  return [in_range(found.name, found.shaped(index, shape, stored), stored) for index in range(found.count)]


def in_range(name: str, pixels: np.ndarray, stored: images.StoredPixels) -> np.ndarray:
  """Returns pixels as `Contents.shaped` gives them in the range of a data set, float32.

  Raises:
    ValueError: The set has no known black and white.
  """
  if stored.black is None or stored.white is None:
    raise ValueError(f'{name} cannot be given to this model: it was trained on arrays of floats that say of no value '
                     'that it is black or white. Train with pixel_range=BLACK,WHITE, the values that are.')
  scale = (stored.white - stored.black) / (255 if stored.window is None else 1)
  return stored.black + pixels.astype(np.float32) * scale


def opened(path: str | pathlib.Path,
           stored: images.StoredPixels = images.StoredPixels()) -> Contents:  # noqa: B008  Frozen.
  """Returns the images in a file; errors are those of `contents`, or the file cannot be read."""
  try:
    content = pathlib.Path(path).read_bytes()
  except OSError as error:
    raise ValueError(f'{path} cannot be read ({error.strerror}).') from error
  return contents(content, path, stored)


def native(path: str | pathlib.Path) -> np.ndarray:
  """Returns the first image of a file with the values in it: uint8, uint16 or float32 [height, width, 1 or 3], upright.

  Raises:
    ValueError: The file is missing, not an image of a supported format, or corrupt.
  """
  return opened(path).native(0)


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


def _said(path, error):
  text = str(error)
  return _corrupt(path) if text == 'is corrupt' else ValueError(f'{path} {text}.')


def _by_tensorflow(content, kind):
  import tensorflow as tf  # Imported late: listing files does not need it.
  try:
    if kind == 'PNG' and content[24:25] == b'\x10':
      image = tf.io.decode_png(content, dtype=tf.uint16).numpy()
    else:
      image = tf.io.decode_image(content, expand_animations=False).numpy()
  except tf.errors.InvalidArgumentError as error:
    other = formats.unread_jpeg(content) if kind == 'JPEG' else ''
    raise ValueError(f'is a file of the format {other}, which is not read' if other else 'is corrupt') from error
  if kind == 'GIF' and image.shape[:2] != tuple(np.frombuffer(content[6:10], '<u2')[::-1]):
    # TensorFlow's image is as large as the largest frame, and cuts off what lies outside.
    image = pillow_files.gif(content)
  # Anywhere: colour profiles may stand before the tags of a JPEG, and the pixels of a PNG.
  if any(mark in content for mark in (b'Exif', b'eXIf', b'Orientation')):
    image = pillow_files.upright(image, pillow_files.orientation(content))
  return image


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
