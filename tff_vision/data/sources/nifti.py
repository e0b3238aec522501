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
from typing import BinaryIO, NamedTuple

import nibabel as nib
import numpy as np

AXES = ('axial', 'coronal', 'sagittal')
_CUT = {'sagittal': 0, 'coronal': 1, 'axial': 2}  # The axis of RAS+ along which slices follow each other.
_LONGEST_HEADER = 540
_GZIP = b'\x1f\x8b'


class Frame(NamedTuple):
  """Where the voxels of a volume along RAS+ are: its shape, and the matrix from voxels to millimetres, [4, 4]."""
  shape: tuple[int, ...]
  affine: np.ndarray

  def slice_shape(self, slice_axis: str) -> tuple[int, int]:
    """Returns (height, width) of its slices."""
    width, height = (side for axis, side in enumerate(self.shape[:3]) if axis != _CUT[slice_axis])
    return height, width

  def is_apart(self, other: 'Frame') -> bool:
    """Whether corners of two volumes of one shape are more than half a voxel apart."""
    corners = np.array([*np.ndindex(2, 2, 2)]) * (np.array(self.shape[:3]) - 1)
    places = [nib.affines.apply_affine(frame.affine, corners) for frame in (self, other)]
    voxel = nib.affines.voxel_sizes(self.affine).min()
    return bool(np.linalg.norm(places[0] - places[1], axis=1).max() > 0.5 * voxel)


def frame(file: BinaryIO) -> Frame:
  """Returns where the voxels of a file are; only its header is read.

  Raises:
    ValueError: The header is broken.
  """
  try:
    found = _header(file)
    shape, affine = found.get_data_shape(), found.get_best_affine()
    turn = nib.orientations.io_orientation(affine)
    order = turn[:, 0].tolist()
    return Frame((*(shape[order.index(axis)] for axis in range(3)), *shape[3:]),
                 affine @ nib.orientations.inv_ornt_aff(turn, shape[:3]))
  except Exception as error:  # nibabel can raise any exception on a broken header.
    raise ValueError(f'cannot be read as NIfTI ({error})') from error


def _header(file):
  zipped = file.read(2) == _GZIP
  file.seek(0)
  head = (gzip.GzipFile(fileobj=file) if zipped else file).read(_LONGEST_HEADER)
  return _kind(head).header_class.from_fileobj(io.BytesIO(head))


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
    found = _header(file)
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


def with_slices(content: bytes, slices: np.ndarray, slice_axis: str) -> bytes:
  """Returns a file of the same geometry as `content` with other values, as .nii.gz.

  Args:
    content: A file.
    slices: Its new slices, [count, height, width] uint8, as `images` cuts them.
    slice_axis: The axis along which they are cut.
  """
  image = _opened(content)
  axis, turn = _CUT[slice_axis], nib.orientations.io_orientation(image.affine)
  times = image.shape[3:]
  turned = slices[:, ::-1, ::-1].swapaxes(1, 2)
  series = turned.reshape(-1, len(turned) // int(np.prod(times, dtype=np.int64)), *turned.shape[1:])
  volumes = np.stack([np.moveaxis(volume, 0, axis) for volume in series], axis=-1)
  volume = volumes.reshape(*volumes.shape[:3], *times, order='F') if times else volumes[..., 0]
  back = nib.orientations.ornt_transform([[0, 1], [1, 1], [2, 1]], turn)
  head = image.header.copy()
  head.set_data_dtype(np.uint8)
  head.set_slope_inter(1, 0)
  head['cal_min'] = head['cal_max'] = 0
  made = type(image)(nib.orientations.apply_orientation(volume, back), image.affine, head)
  return gzip.compress(made.to_bytes(), mtime=0)


def series(file: BinaryIO) -> int:
  """Returns how many volumes follow each other in a file; only its header is read."""
  return int(np.prod(frame(file).shape[3:], dtype=np.int64))


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
    image = _opened(content)
    if unread := _why_unread(image.get_data_dtype(), image.shape):
      raise ValueError(f'is a file of the format {unread}, which is not read')
    image = nib.as_closest_canonical(image)
    low, high = float(image.header['cal_min']), float(image.header['cal_max'])
    return np.asanyarray(image.dataobj), (low, high) if -np.inf < low < high < np.inf else None
  except (OSError, EOFError, MemoryError, OverflowError, zlib.error, nib.spatialimages.HeaderDataError,
          nib.filebasedimages.ImageFileError, nib.wrapstruct.WrapStructError, ValueError) as error:
    said = ' '.join(str(error).split()) or type(error).__name__
    raise ValueError(said if said.startswith('is a file') else f'cannot be read as NIfTI ({said})') from error


def _opened(content):
  if content[:2] == _GZIP:
    content = gzip.decompress(content)
  return _kind(content).from_bytes(content)


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
