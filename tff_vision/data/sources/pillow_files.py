"""Decodes with Pillow what TensorFlow cannot: BMP with palettes, WebP, TIFF of several pages, HEIC, AVIF."""

import functools
import io
import typing
from collections.abc import Callable
from typing import BinaryIO

import numpy as np

if typing.TYPE_CHECKING:
  from PIL import Image

_ORIENTATION = 0x0112
_SIDEWAYS = (5, 6, 7, 8)  # Orientations that exchange height and width.
_BITS_PER_SAMPLE, _SUBFILE_TYPE, _PHOTOMETRIC, _SAMPLE_FORMAT = 258, 254, 262, 339  # Tags of a TIFF.
_STRIPS, _STRIP_BYTES = (273, 324), (279, 325)  # Of a TIFF in strips or in tiles.
_WHITE_IS_ZERO, _SIGNED, _FLOATS = 0, 2, 3
_REDUCED, _MASK = 1, 4  # Bits of a TIFF's subfile type: a smaller copy of a page, and a page's transparency.
# Pillow's readers of a format; that of HEIC takes AVIF for its own.
_READERS = {'BMP': ('BMP', 'DIB'), 'WebP': ('WEBP',), 'TIFF': ('TIFF',), 'HEIC': ('HEIF',), 'AVIF': ('AVIF',)}


def pages(file: BinaryIO) -> int:
  """Returns the number of pages of a TIFF; smaller copies of pages do not count.

  Raises:
    ValueError: The file is corrupt, or `unread_tiff` names it.
  """
  from PIL import Image
  try:
    with Image.open(file, formats=('TIFF',)) as image:
      return len(page_numbers(image))
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError('is corrupt') from error


def unread_tiff(file: BinaryIO) -> str:
  """Returns the name of a whole TIFF that Pillow does not read, by the values of its pixels; '' for a broken file."""
  from PIL import TiffImagePlugin
  try:
    size = file.seek(0, io.SEEK_END)
    file.seek(0)
    tags = TiffImagePlugin.ImageFileDirectory_v2(file.read(8))
    file.seek(tags.next)
    tags.load(file)
    bits, formats = tags.get(_BITS_PER_SAMPLE, (1,)), tags.get(_SAMPLE_FORMAT, (1,))
    starts, lengths = (next(tags[tag] for tag in kinds if tag in tags) for kinds in (_STRIPS, _STRIP_BYTES))
    if max(start + length for start, length in zip(starts, lengths, strict=True)) > size:
      return ''
  except Exception:  # As above.
    return ''
  kind = 'floats' if _FLOATS in formats else 'whole numbers'
  white = ', of which 0 is white' if tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO else ''
  return f'TIFF with {len(bits)} {kind} of {max(bits)} bits in a pixel{white}'


def size(image: 'Image.Image') -> tuple[int, int]:
  """Returns (height, width) of an opened image as it is shown; its pixels are not decoded."""
  width, height = image.size
  # Pillow gives the size of a TIFF as it is shown, that of other formats as it is stored.
  turned = image.format != 'TIFF' and image.getexif().get(_ORIENTATION) in _SIDEWAYS
  return (width, height) if turned else (height, width)


def has_all_boxes(file: BinaryIO, size: int) -> bool:
  """Returns whether a HEIC or AVIF file of `size` bytes ends where its last box does (ISO 14496-12, section 4.2)."""
  end = 0
  while end < size:
    file.seek(end)
    head = file.read(16)
    length = int.from_bytes(head[:4], 'big')
    if length == 0:  # This box takes the rest.
      return True
    length = int.from_bytes(head[8:], 'big') if length == 1 else length
    if length < 8:
      return False
    end += length
  return end == size


def images(content: bytes, kind: str) -> tuple[int, Callable[[int], np.ndarray]]:
  """Returns the number of images in a file, and a function from a number from 0 to the image.

  An image is [height, width, 1, 3 or 4], upright, as uint8, uint16 or float32.

  Raises:
    ValueError: The file is too large or corrupt; the message is the end of a sentence.
  """
  from PIL import Image
  if kind == 'HEIC':
    _register_heif()
  try:
    with Image.open(io.BytesIO(content), formats=_READERS[kind]) as image:
      places = page_numbers(image) if kind == 'TIFF' else [0]
  except Image.DecompressionBombError as error:
    raise ValueError(f'is too large: {error}') from error
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    other = unread_tiff(io.BytesIO(content)) if kind == 'TIFF' else ''
    raise ValueError(f'is a file of the format {other}, which is not read' if other else 'is corrupt') from error
  return len(places), lambda index: _image(content, places[index], _READERS[kind])


def orientation(content: bytes) -> int:
  """Returns the EXIF orientation 1..8 of a file; 1 if it has none."""
  from PIL import Image
  try:
    with Image.open(io.BytesIO(content)) as image:
      return image.getexif().get(_ORIENTATION, 1)
  except Exception:  # The tag is broken in some way, but the image itself is complete.
    return 1


def gif(content: bytes) -> np.ndarray:
  """Returns the first frame of a GIF at its place in the whole image, uint8 [height, width, 3]; around it is black.

  Raises:
    ValueError: It is corrupt.
  """
  from PIL import Image
  try:
    with Image.open(io.BytesIO(content), formats=('GIF',)) as image:
      left, top, right, bottom = image.tile[0][1]
      canvas = np.zeros((*image.size[::-1], 3), np.uint8)
      canvas[top:bottom, left:right] = np.asarray(image.convert('RGB'))[top:bottom, left:right]
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError('is corrupt') from error
  return canvas


def upright(image: np.ndarray, orientation: int) -> np.ndarray:
  """Returns the sensor's image, rotated or mirrored for display as its EXIF tag says."""
  turned = {2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1],
            5: lambda x: x.swapaxes(0, 1), 6: lambda x: np.rot90(x, -1),
            7: lambda x: x[::-1, ::-1].swapaxes(0, 1), 8: lambda x: np.rot90(x, 1)}
  return turned[orientation](image) if orientation in turned else image


@functools.cache
def _register_heif():
  import pi_heif
  pi_heif.register_heif_opener()


def page_numbers(image: 'Image.Image') -> list[int]:
  """Returns the numbers of the pages of an opened TIFF that are images of their own."""
  found = []
  for place in range(image.n_frames):
    image.seek(place)
    if not image.tag_v2.get(_SUBFILE_TYPE, 0) & (_REDUCED | _MASK):
      found.append(place)
  return found or [0]


def _image(content, place, readers):
  from PIL import Image
  try:
    with Image.open(io.BytesIO(content), formats=readers) as image:
      tiff = image.format == 'TIFF'
      if tiff:
        image.seek(place)
      deep_colour = tiff and image.mode not in ('I', 'F', 'I;16', 'I;16B') and max(
          image.tag_v2.get(_BITS_PER_SAMPLE, (1,))) > 8
      image.load()
      turned = image.getexif().get(_ORIENTATION, 1)
      found = _of_mode(image)
      tags = {tag: image.tag_v2.get(tag) for tag in (_PHOTOMETRIC, _SAMPLE_FORMAT, _BITS_PER_SAMPLE)} if tiff else {}
  except Image.DecompressionBombError as error:
    raise ValueError(f'is too large: {error}') from error
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError('is corrupt') from error
  if deep_colour:
    raise ValueError('is a TIFF of 16 bits a colour, which is not read: save it as PNG')
  return upright(_as_tags_say(found, image.mode, tags), turned)


def _as_tags_say(pixels, mode, tags):
  """Returns the pixels of a TIFF with the signs and the white that its tags tell and Pillow leaves out.

  Raises:
    ValueError: The smallest value is white, and nothing tells which is black.
  """
  if mode == 'L' and _SIGNED in (tags.get(_SAMPLE_FORMAT) or ()):
    pixels = pixels.view(np.int8).astype(np.float32)
  elif tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO or mode in ('1', 'L'):  # Of these, Pillow turns the values over.
    return pixels
  if tags.get(_PHOTOMETRIC) != _WHITE_IS_ZERO:
    return pixels
  if pixels.dtype != np.uint16:
    raise ValueError('is a TIFF of floats or signed numbers of which the smallest is white, which is not read: save it '
                     'with black as the smallest')
  return (2**max(tags[_BITS_PER_SAMPLE]) - 1 - pixels.astype(np.int64)).astype(np.uint16)


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
