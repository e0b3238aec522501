"""Reads the values of mask files: one mask in each, or one for each page of a TIFF or slice of a NIfTI volume.

Every file is opened once: a mask is read as a whole, and of its image the header, where its format has one that tells.
"""

import dataclasses
import io
import typing
from collections.abc import Callable

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import decode, formats, pillow_files

if typing.TYPE_CHECKING:
  from tff_vision.data.sources import nifti

GREY = 0x010101  # Times a value of 0..255: the colour of this grey.
_LOSSY = ('JPEG', 'HEIC', 'AVIF')
_LOSSLESS_WEBP = b'VP8L'
_LOSSY_COMPRESSIONS = ('jpeg', 'tiff_jpeg', 'webp')  # Of a TIFF.
_ORIENTATION, _BITS_PER_SAMPLE = 0x0112, 258
_BIT_DEPTH, _COLOUR_TYPE = 24, 25  # Bytes of a PNG.
_HEAD = 512


class Values(typing.NamedTuple):
  """What the pixels of a mask hold.

  Attributes:
    numbers: Class numbers, greys or places in a palette, int64 [height, width]; None if the mask has colours.
    colours: Their colours, 0xrrggbb [height, width].
    palette: Whether `numbers` are places in the file's own palette.
  """
  numbers: np.ndarray | None
  colours: np.ndarray
  palette: bool = False


class _NoClasses(ValueError):
  """The values of a mask are no classes; the message is the end of a sentence."""


@dataclasses.dataclass(frozen=True)
class Outline:
  """What the header of a file tells of its images.

  Attributes:
    name: The file, for messages.
    kind: Its format.
    size: (height, width) of each image as it is shown.
    frame: Where the voxels of a NIfTI volume are; None for other formats.
  """
  name: str
  kind: str
  size: tuple[int, int]
  frame: 'nifti.Frame | None' = None


@dataclasses.dataclass(frozen=True)
class MaskFile:
  """A mask file that was read.

  Attributes:
    name: The file, for messages.
    kind: Its format.
    count: The number of masks in it.
    values: Function from a number from 0 to the values of that mask. Raises ValueError if it is corrupt.
    frame: Where the voxels of a NIfTI volume are; None for other formats.
  """
  name: str
  kind: str
  count: int
  values: Callable[[int], Values]
  frame: 'nifti.Frame | None' = None


def opened(path: str, slice_axis: str) -> MaskFile:
  """Reads a mask file.

  Args:
    path: The file.
    slice_axis: The axis along which volumes are cut.

  Raises:
    ValueError: It cannot be read, or its format changes values.
  """
  with open(path, 'rb') as file:
    content = file.read()
  kind = formats.kind_of(content[:_HEAD], path)
  if lossy := _lossy(path, kind, content):
    raise ValueError(f'{path} is {lossy}, which changes the values of a mask: save masks as PNG.')
  if kind == 'DICOM':
    raise ValueError(f'{path} is DICOM, and masks are read as PNG, TIFF, BMP, GIF, WebP and NIfTI: save it as one.')
  if kind == 'NIfTI':
    from tff_vision.data.sources import nifti  # Imported late: most data sets have no such files.
    try:
      frame = nifti.frame(io.BytesIO(content))
      count, values = nifti.values(content, slice_axis)
    except ValueError as error:
      raise ValueError(f'{path} {error}.') from error
    return MaskFile(path, kind, count, lambda number: _whole(values(number), path), frame)
  if kind == 'TIFF':
    places = _of_pillow(path, content, pillow_files.page_numbers)
    return MaskFile(path, kind, len(places),
                    lambda number: _of_pillow(path, content, lambda image: _page(image, places[number])))
  if kind == 'PNG' and content[_BIT_DEPTH] == 16 and content[_COLOUR_TYPE]:  # Pillow keeps the upper 8 bits of each.
    return MaskFile(path, kind, 1, lambda _: _of_pillow(path, content, lambda image: _of_16_bits(image, content)))
  return MaskFile(path, kind, 1, lambda _: _of_pillow(path, content, lambda image: _read(image, _bits(content, image))))


def outline(path: str, slice_axis: str) -> Outline:
  """Returns what is known of an image file without decoding it, if its format has a header that tells.

  Raises:
    ValueError: It cannot be read.
  """
  from PIL import Image
  with open(path, 'rb') as file:
    kind = formats.kind_of(file.read(_HEAD), path)
    file.seek(0)
    if kind == 'NIfTI':
      from tff_vision.data.sources import nifti
      try:
        frame = nifti.frame(file)
      except ValueError as error:
        raise ValueError(f'{path} {error}.') from error
      return Outline(path, kind, frame.slice_shape(slice_axis), frame)
    try:
      with Image.open(file) as image:
        return Outline(path, kind, pillow_files.size(image))
    except Exception:  # Pillow does not know the format.
      file.seek(0)
      found = decode.contents(file.read(), path, images.StoredPixels(slice_axis=slice_axis))
      return Outline(path, kind, found.native(0).shape[:2])


def check_place(image: Outline, mask: MaskFile) -> None:
  """Refuses a volume whose mask is no volume, or lies at another place.

  Raises:
    ValueError: With both files.
  """
  if 'NIfTI' not in (image.kind, mask.kind):
    return
  if image.frame is None or mask.frame is None:
    raise ValueError(f'{image.name} is a file of the format {image.kind} and its mask {mask.name} of {mask.kind}: of a '
                     'NIfTI volume, nothing tells which slice belongs to which image of another format.')
  if image.frame.shape[:3] != mask.frame.shape[:3]:
    sides = ['x'.join(map(str, frame.shape)) for frame in (image.frame, mask.frame)]
    raise ValueError(f'{mask.name} has {sides[1]} voxels, and its volume {image.name} {sides[0]}.')
  if image.frame.is_apart(mask.frame):
    raise ValueError(f'{mask.name} lies elsewhere than its volume {image.name}: their headers give the same voxels '
                     'other places (affine), so that slices would not belong together; save the mask with the header '
                     'of the volume.')


def _lossy(path, kind, content):
  """Returns the name of a format or compression that changes values; '' if the file keeps them."""
  if kind == 'WebP':
    return '' if _LOSSLESS_WEBP in content[:_HEAD] else 'lossy WebP'
  if kind == 'TIFF' and _of_pillow(path, content, lambda image: image.info.get('compression')) in _LOSSY_COMPRESSIONS:
    return 'TIFF with lossy compression'
  return kind if kind in _LOSSY else ''


def _whole(values, path):
  """Returns the values of a slice as class numbers and as colours of grey.

  Raises:
    ValueError: They are no whole numbers from 0.
  """
  if values.dtype.kind not in 'iuf' or not np.isfinite(values).all() or (values != np.round(values)).any() or (
      values.size and values.min() < 0):
    found = f'{values.min():g}..{values.max():g}' if values.dtype.kind in 'iuf' else f'values of {values.dtype}'
    raise ValueError(f'{path} holds {found}, and the voxels of a mask are class numbers, whole and from 0.')
  numbers = values.astype(np.int64)
  return Values(numbers, GREY * np.minimum(numbers, 255))


def _of_pillow(path, content, read):
  from PIL import Image
  try:
    with Image.open(io.BytesIO(content)) as image:
      return read(image)
  except _NoClasses as error:
    raise ValueError(f'{path} {error}.') from error
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError(f'{path} is no mask that can be read, or it is corrupt.') from error


def _page(image, place):
  image.seek(place)
  return _read(image, max(image.tag_v2.get(_BITS_PER_SAMPLE, (1,))))


def _bits(content, image):
  return content[_BIT_DEPTH] if image.format == 'PNG' else 1 if image.mode == '1' else 8


def _of_16_bits(image, content):
  """Returns the values of a PNG of 16 bits with an alpha channel or with colours.

  Raises:
    _NoClasses: It has colours that 8 bits cannot hold; or as `_check_transparency`.
  """
  import tensorflow as tf  # Imported late: few masks are so.
  values = tf.io.decode_png(content, dtype=tf.uint16).numpy().astype(np.int64)
  colours = values[..., :values.shape[-1] - 1 + values.shape[-1] % 2]
  if (colours == colours[..., :1]).all():
    numbers = colours[..., 0]
    if not (numbers % 257).any():  # A grey of 8 bits, written with 16.
      numbers = numbers // 257
    rgb = np.repeat(np.minimum(numbers, 255)[..., None], 3, axis=-1)
  elif (colours % 257).any():
    raise _NoClasses('has colours of 16 bits, and masks have classes for colours of 8 bits: save it with 8 bits')
  else:
    numbers, rgb = None, colours // 257
  _check_transparency(image, rgb)
  return _upright(image, numbers, rgb)


def _check_transparency(image, rgb):
  """Refuses a mask whose transparency tells more than its colours.

  Raises:
    _NoClasses: Pixels of one colour are transparent and opaque.
  """
  if 'A' not in image.getbands():
    return
  opaque = np.asarray(image.getchannel('A')).reshape(-1) > 0
  pixels = rgb.reshape(-1, rgb.shape[-1])
  both = set(map(tuple, np.unique(pixels[opaque], axis=0))) & set(map(tuple, np.unique(pixels[~opaque], axis=0)))
  if both:
    raise _NoClasses(f'has transparent and opaque pixels of one colour, #{bytes(map(int, min(both))).hex()}, and '
                     'transparency is no class: save it without an alpha channel')


def _read(image, bits) -> Values:
  """Returns the values of an opened image, whose file has `bits` in each pixel or colour."""
  if image.format == 'GIF' and image.tile[0][1] != (0, 0, *image.size):
    raise _NoClasses('has a first frame that does not fill it, and nothing tells the class of the pixels around it: '
                     'save it as PNG')
  image.load()
  palette = image.mode == 'P'
  if image.mode == 'F':
    numbers = np.asarray(image)
    if not np.isfinite(numbers).all() or (numbers != np.round(numbers)).any() or numbers.min(initial=0) < 0:
      raise _NoClasses(f'holds floats in {numbers.min():g}..{numbers.max():g}, and pixels of a mask are class numbers, '
                       'whole and from 0')
    indices = numbers.astype(np.int64)
    rgb = np.repeat(indices[..., None], 3, axis=-1)
  elif palette:
    indices, rgb = np.asarray(image), np.asarray(image.convert('RGB'))
    # Whatever is saved as GIF gets a palette of the colours that occur in it, greys too.
    if image.format == 'GIF' and (rgb == rgb[..., :1]).all():
      indices, palette = rgb[..., 0], False
  elif image.mode in ('1', 'L', 'LA', 'La') or image.mode.startswith('I'):
    indices = np.asarray(image.convert('L') if image.mode in ('1', 'LA', 'La') else image).astype(np.int64)
    _check_transparency(image, indices[..., None].repeat(3, axis=-1))
    rgb = np.repeat(indices[..., None], 3, axis=-1)
    if bits < 8:  # Pillow shows 1, 2 and 4 bits as 0..255, and class numbers are what is stored.
      indices = indices * (2**bits - 1) // 255
  else:
    rgb = np.asarray(image.convert('RGB'))
    _check_transparency(image, rgb)
    grey = (rgb == rgb[..., :1]).all()
    indices = rgb[..., 0] if grey else None
  return _upright(image, indices, rgb)._replace(palette=palette)


def _upright(image, numbers, rgb):
  red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
  turned = image.getexif().get(_ORIENTATION, 1)
  upright = lambda values: pillow_files.upright(values, turned)
  return Values(None if numbers is None else upright(numbers), upright(red << 16 | green << 8 | blue))
