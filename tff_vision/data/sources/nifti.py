"""Reads NIfTI volumes as slices: `.nii` and `.nii.gz`, versions 1 and 2.

A volume is brought to the axes that are closest to right, anterior and superior (RAS+), and cut along one of them:

    axial      from inferior to superior; anterior is at the top
    coronal    from posterior to anterior; superior is at the top
    sagittal   from left to right; superior is at the top, anterior at the left

In axial and coronal slices the patient's right is at the left, as radiologists see it. A series of volumes gives the
slices of the first volume, then those of the second. Unscaled uint8 stays as it is. Other values become brightness in
0..1: by a window that the user has chosen (pixel_range), else by the display range in the header (cal_min and cal_max),
else by the smallest and the largest value of the volume.
"""

import gzip
import io
import zlib
from collections.abc import Callable
from typing import BinaryIO

import nibabel as nib
import numpy as np

AXES = ('axial', 'coronal', 'sagittal')
_CUT = {'sagittal': 0, 'coronal': 1, 'axial': 2}  # The axis of RAS+ along which slices follow each other.
_LONGEST_HEADER = 540
_GZIP = b'\x1f\x8b'


def header(file: BinaryIO, size: int, tail: bytes, slice_axis: str) -> tuple[int, bool, str]:
  """Reads the header of a file.

  Args:
    file: The file, at its beginning.
    size: Its length in bytes.
    tail: Its last bytes.
    slice_axis: The axis along which it is cut.

  Returns:
    The number of slices; whether the file is as long as its header says; and why it cannot be read, as the name of a
    format, or ''.

  Raises:
    ValueError: The header is broken.
  """
  zipped = file.read(2) == _GZIP
  file.seek(0)
  try:
    head = (gzip.GzipFile(fileobj=file) if zipped else file).read(_LONGEST_HEADER)
    found = _kind(head).header_class.from_fileobj(io.BytesIO(head))
    dtype, shape = found.get_data_dtype(), found.get_data_shape()
    expected = int(found.get_data_offset()) + dtype.itemsize * int(np.prod(shape, dtype=np.int64))
    order = nib.orientations.io_orientation(found.get_best_affine())[:, 0].tolist()
    sides = [shape[order.index(axis)] if len(shape) > 2 else 1 for axis in range(3)]
  except Exception as error:  # nibabel can raise any exception on a broken header.
    raise ValueError(f'cannot be read as NIfTI ({error})') from error
  if unread := _why_unread(dtype, shape):
    return 1, False, unread
  # gzip ends with the length of what it holds. If that is another, decoding tells.
  whole = int.from_bytes(tail[-4:], 'little') == expected % (1 << 32) if zipped else size >= expected
  return _count([*sides, *shape[3:]], slice_axis), whole, ''


def images(content: bytes, window: tuple[float, float] | None, slice_axis: str
           ) -> tuple[int, Callable[[int], np.ndarray]]:
  """Returns the number of slices of a volume, and a function from a number from 0 to the slice.

  A slice is [height, width, 1 or 3]: uint8, or float32 of brightness in 0..1.

  Args:
    content: The whole file.
    window: The values that are black and white; None: those that the file tells.
    slice_axis: The axis along which it is cut.

  Raises:
    ValueError: It is no NIfTI file of real numbers or colours; the message is the end of a sentence.
  """
  volume, ends = _volume(content)
  axis = _CUT[slice_axis]
  count = _count(volume.shape, slice_axis)
  if volume.dtype.names:
    return count, lambda index: np.stack([_slice(volume[name], axis, index) for name in 'RGB'], axis=-1)
  if volume.dtype == np.uint8 and ends is None and window is None:
    return count, lambda index: _slice(volume, axis, index)[..., np.newaxis]
  low, high = window or ends or _range(volume)

  def brightness(index):
    found = np.nan_to_num(_slice(volume, axis, index).astype(np.float64), nan=low, posinf=high, neginf=low)
    return np.clip((found - low) / (high - low), 0, 1).astype(np.float32)[..., np.newaxis]
  return count, brightness


def values(content: bytes, slice_axis: str = 'axial') -> tuple[int, Callable[[int], np.ndarray]]:
  """Returns the number of slices, and a function from a number to the values of the slice, [height, width].

  Masks are volumes of class numbers, which no window may change.

  Raises:
    ValueError: As `images`.
  """
  volume, _ = _volume(content)
  return _count(volume.shape, slice_axis), lambda index: _slice(volume, _CUT[slice_axis], index)


def _kind(head):
  return nib.Nifti2Image if head[4:8] == b'n+2\0' else nib.Nifti1Image


def _why_unread(dtype, shape):
  if dtype.names and dtype.names[:3] != ('R', 'G', 'B') or dtype.kind == 'c':
    return f'NIfTI of {"complex numbers" if dtype.kind == "c" else dtype}'
  if len(shape) < 3 or min(shape) < 1:
    return f'NIfTI of the shape {"x".join(map(str, shape))}'
  return ''


def _volume(content):
  """Returns the array of a file, along RAS+, and its display range or None."""
  try:
    if content[:2] == _GZIP:
      content = gzip.decompress(content)
    image = _kind(content).from_bytes(content)
    if unread := _why_unread(image.get_data_dtype(), image.shape):
      raise ValueError(f'is a file of the format {unread}, which is not read')
    image = nib.as_closest_canonical(image)
    low, high = float(image.header['cal_min']), float(image.header['cal_max'])
    return np.asanyarray(image.dataobj), (low, high) if low < high else None
  except (OSError, EOFError, zlib.error, nib.spatialimages.HeaderDataError, nib.filebasedimages.ImageFileError,
          ValueError) as error:
    said = str(error)
    raise ValueError(said if said.startswith('is a file') else f'cannot be read as NIfTI ({said})') from error


def _count(shape, slice_axis):
  return int(shape[_CUT[slice_axis]] * np.prod(shape[3:], dtype=np.int64))


def _range(volume):
  finite = volume[np.isfinite(volume)] if volume.dtype.kind == 'f' else volume
  low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
  return low, high if high > low else low + 1


def _slice(volume, axis, index):
  """Returns a slice of a volume along RAS+, [height, width], oriented as the module says."""
  later, place = divmod(index, volume.shape[axis])
  volume = volume[(..., *np.unravel_index(later, volume.shape[3:], order='F'))] if volume.ndim > 3 else volume
  return np.take(volume, place, axis).T[::-1, ::-1]
