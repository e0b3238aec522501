"""Reads the values of mask files: one mask in each, or one for each page of a TIFF or slice of a NIfTI volume."""

import dataclasses
from collections.abc import Callable

import numpy as np

from tff_vision.data import images
from tff_vision.data.sources import decode, formats, nifti, pillow_files

# Class numbers or greys, int64 [height, width], None if the mask has colours; and its colours, 0xrrggbb.
Values = tuple[np.ndarray | None, np.ndarray]
_LOSSY = ('JPEG', 'HEIC', 'AVIF')
_LOSSLESS_WEBP = b'VP8L'
_LOSSY_COMPRESSIONS = ('jpeg', 'tiff_jpeg', 'webp')  # Of a TIFF.
_TURNED = (5, 6, 7, 8)  # EXIF orientations that swap height and width.
_ORIENTATION = 0x0112
_HEAD = 512


@dataclasses.dataclass(frozen=True)
class MaskFile:
  """An opened mask file.

  Attributes:
    name: The file, for messages.
    count: The number of masks in it.
    values: Function from a number from 0 to the values of that mask. Raises ValueError if it is corrupt.
  """
  name: str
  count: int
  values: Callable[[int], Values]


def opened(path: str, slice_axis: str) -> MaskFile:
  """Opens a mask file.

  Args:
    path: The file.
    slice_axis: The axis along which volumes are cut.

  Raises:
    ValueError: It cannot be read, or its format changes values.
  """
  kind = _kind(path)
  if lossy := _lossy(path, kind):
    raise ValueError(f'{path} is {lossy}, which changes the values of a mask: save masks as PNG.')
  if kind == 'NIfTI':
    with open(path, 'rb') as file:
      content = file.read()
    try:
      count, values = nifti.values(content, slice_axis)
    except ValueError as error:
      raise ValueError(f'{path} {error}.') from error
    return MaskFile(path, count, lambda number: _whole(values(number), path))
  if kind == 'TIFF':
    places = _of_pillow(path, pillow_files.page_numbers)
    return MaskFile(path, len(places), lambda number: _of_pillow(path, lambda image: _page(image, places[number])))
  return MaskFile(path, 1, lambda _: _of_pillow(path, _read))


def check_frame(path: str, mask: str) -> None:
  """Refuses a volume whose mask is no volume, or lies at another place.

  Raises:
    ValueError: With both files.
  """
  kinds = [_kind(one) for one in (path, mask)]
  if 'NIfTI' not in kinds:
    return
  if kinds != ['NIfTI', 'NIfTI']:
    raise ValueError(f'{path} is a file of the format {kinds[0]} and its mask {mask} of {kinds[1]}: of a NIfTI volume, '
                     'nothing tells which slice belongs to which image of another format.')
  frames = []
  for one in (path, mask):
    with open(one, 'rb') as file:
      try:
        frames.append(nifti.frame(file))
      except ValueError as error:
        raise ValueError(f'{one} {error}.') from error
  if frames[0].shape[:3] != frames[1].shape[:3]:
    sides = ['x'.join(map(str, frame.shape)) for frame in frames]
    raise ValueError(f'{mask} has {sides[1]} voxels, and its volume {path} {sides[0]}.')
  if frames[0].is_apart(frames[1]):
    raise ValueError(f'{mask} lies elsewhere than its volume {path}: their headers give the same voxels other places '
                     '(affine), so that slices would not belong together; save the mask with the header of the volume.')


def size_of(path: str, slice_axis: str) -> tuple[int, int]:
  """Returns (height, width) of an image, or of each image in a file, as it is shown; if possible from the header."""
  from PIL import Image
  if _kind(path) == 'NIfTI':
    with open(path, 'rb') as file:
      return nifti.frame(file).slice_shape(slice_axis)
  try:
    with Image.open(path) as image:
      width, height = image.size
      turned = image.getexif().get(_ORIENTATION, 1) in _TURNED
  except Exception:  # Pillow does not know the format.
    return decode.opened(path, images.StoredPixels(slice_axis=slice_axis)).native(0).shape[:2]
  return (width, height) if turned else (height, width)


def _kind(path):
  with open(path, 'rb') as file:
    return formats.kind_of(file.read(_HEAD), path)


def _lossy(path, kind):
  """Returns the name of a format or compression that changes values; '' if the file keeps them."""
  if kind == 'WebP':
    with open(path, 'rb') as file:
      return '' if _LOSSLESS_WEBP in file.read(_HEAD) else 'lossy WebP'
  if kind == 'TIFF' and _of_pillow(path, lambda image: image.info.get('compression')) in _LOSSY_COMPRESSIONS:
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
  grey = np.minimum(numbers, 255)
  return numbers, grey << 16 | grey << 8 | grey


def _of_pillow(path, read):
  from PIL import Image
  try:
    with Image.open(path) as image:
      return read(image)
  except Exception as error:  # Pillow's readers can raise any exception on a broken file.
    raise ValueError(f'{path} is no mask that can be read, or it is corrupt.') from error


def _page(image, place):
  image.seek(place)
  return _read(image)


def _read(image) -> Values:
  image.load()
  if image.mode == 'P':
    indices, rgb = np.asarray(image), np.asarray(image.convert('RGB'))
  elif image.mode in ('1', 'L', 'LA', 'La') or image.mode.startswith('I'):
    indices = np.asarray(image.convert('L') if image.mode in ('LA', 'La') else image).astype(np.int64)
    rgb = np.repeat(indices[..., None], 3, axis=-1)
  else:
    rgb = np.asarray(image.convert('RGB'))
    grey = (rgb == rgb[..., :1]).all()
    indices = rgb[..., 0] if grey else None
  red, green, blue = np.moveaxis(rgb.astype(np.int64), -1, 0)
  turned = image.getexif().get(_ORIENTATION, 1)
  upright = lambda values: pillow_files.upright(values, turned)
  return None if indices is None else upright(indices), upright(red << 16 | green << 8 | blue)
