"""Reads DICOM files: the images in one file, and what its header says of them.

Values become brightness by one rule. Stored values become modality values (rescale slope and intercept, or the modality
table). A window that the user has chosen (pixel_range) maps them to 0..1; otherwise the file's own window or table does
(its first one); a file without a window keeps its values, as a 16-bit PNG does. MONOCHROME1 is turned over, so that
the largest value is always the brightest. Colours become RGB of 8 bits. Source: DICOM PS3.3, C.7.6.3, C.11.1, C.11.2.
"""

import dataclasses
import hashlib
import io
import secrets
import warnings
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
import pydicom
from pydicom import pixels, uid

_KEY = secrets.token_bytes(32)  # Digests of patients can be compared within this process only.
_COLOURS = ('RGB', 'YBR_FULL', 'YBR_FULL_422', 'YBR_ICT', 'YBR_RCT', 'YBR_PARTIAL_420', 'YBR_PARTIAL_422')
_GREYS = ('MONOCHROME1', 'MONOCHROME2')
_HEADER = ['SOPClassUID', 'PatientID', 'IssuerOfPatientID', 'InstitutionName', 'NumberOfFrames', 'Rows', 'Columns',
           'SamplesPerPixel', 'BitsAllocated', 'BitsStored', 'HighBit', 'PhotometricInterpretation']
_END_OF_FRAMES = (b'\xfe\xff\xdd\xe0', b'\xff\xfe\xe0\xdd')
# Elements that an enhanced multi-frame image may say of all frames or of each.
_TRANSFORMS = ('PixelValueTransformationSequence', 'FrameVOILUTSequence')
_TRANSFORMED = ('RescaleSlope', 'RescaleIntercept', 'ModalityLUTSequence', 'WindowCenter', 'WindowWidth',
                'VOILUTFunction', 'VOILUTSequence')
# Values that break a rule of the standard but can be read are read without a word.
pydicom.config.settings.reading_validation_mode = pydicom.config.IGNORE
warnings.filterwarnings('ignore', module=r'pydicom\.')


@dataclasses.dataclass(frozen=True, kw_only=True)
class Header:
  """What a header says.

  Attributes:
    images: The number of frames.
    unread: Why there is no image that can be read, as the name of a format; or ''.
    whole: Whether the file is as long as its header says.
    patient: A digest of the patient's identifier under this process's own key; '' if none is named.
    institution: The name of the institution, or ''.
  """
  images: int
  unread: str
  whole: bool
  patient: str
  institution: str


def header(file: BinaryIO, tail: bytes, size: int) -> Header:
  """Reads the header of a file; pixels are not read.

  Args:
    file: The file, at its beginning.
    tail: Its last bytes.
    size: Its length in bytes.

  Raises:
    ValueError: It is no DICOM file.
  """
  found = _read(file, _HEADER)
  images = _number(found, 'NumberOfFrames', 1)
  syntax = _syntax(found)
  unread = _why_unread(found, syntax)
  whole = not unread
  if not unread and syntax.is_encapsulated:
    whole = any(mark in tail for mark in _END_OF_FRAMES)
  elif not unread and not syntax.is_deflated:
    bits = images * found.Rows * found.Columns * _number(found, 'SamplesPerPixel', 1) * found.BitsAllocated
    # YBR_FULL_422 stores two values a pixel for three.
    share = 2 / 3 if found.PhotometricInterpretation == 'YBR_FULL_422' else 1
    whole = size >= file.tell() + share * bits / 8
  name = str(found.get('PatientID') or '').strip()
  patient = hashlib.blake2b(f'{name}\0{found.get("IssuerOfPatientID") or ""}'.encode(), key=_KEY,
                            digest_size=16).hexdigest() if name else ''
  return Header(images=images, unread=unread, whole=bool(whole), patient=patient,
                institution=str(found.get('InstitutionName') or '').strip())


def images(content: bytes, window: tuple[float, float] | None) -> tuple[int, Callable[[int], np.ndarray], bool]:
  """Returns the number of images in a file, a function from a number from 0 to the image, and whether it has a window.

  An image is [height, width, 1 or 3]: uint8; or float32 of brightness in 0..1, if there is a window; or, without one,
  uint16 or float32 of modality values.

  Args:
    content: The whole file.
    window: The modality values that are black and white; None: those that the file names.

  Raises:
    ValueError: It is no DICOM file with images that can be read; the message is the end of a sentence.
  """
  dataset = _read(io.BytesIO(content))
  syntax = _syntax(dataset)
  if unread := _why_unread(dataset, syntax):
    raise ValueError(f'is a file of the format {unread}, which is not read')
  if not hasattr(dataset.file_meta, 'TransferSyntaxUID'):
    dataset.file_meta.TransferSyntaxUID = syntax
  shown = window is not None or _has_window(_of_frame(dataset, 0))
  return _number(dataset, 'NumberOfFrames', 1), lambda frame: _image(dataset, frame, window, shown), shown


def values(content: bytes, frame: int = 0) -> np.ndarray:
  """Returns the modality values of a grey image, [height, width], without any window."""
  dataset = _read(io.BytesIO(content))
  if not hasattr(dataset.file_meta, 'TransferSyntaxUID'):
    dataset.file_meta.TransferSyntaxUID = _syntax(dataset)
  return pixels.apply_modality_lut(_pixels(dataset, frame), _of_frame(dataset, frame))


def _read(file, tags=None):
  try:
    found = pydicom.dcmread(file, force=True, specific_tags=tags, stop_before_pixels=tags is not None)
  except Exception as error:  # pydicom can raise any exception on a broken file.
    raise ValueError(f'cannot be read as DICOM ({_first_line(error)})') from error
  if not hasattr(found, 'file_meta'):
    found.file_meta = pydicom.dataset.FileMetaDataset()
  return found


def _syntax(dataset):
  """Returns the transfer syntax; a file that does not name it has one of the three plain ones."""
  if named := getattr(dataset.file_meta, 'TransferSyntaxUID', None):
    return named
  implicit, little = dataset.original_encoding
  if implicit:
    return uid.ImplicitVRLittleEndian
  return uid.ExplicitVRBigEndian if little is False else uid.ExplicitVRLittleEndian


def _number(dataset, keyword, default):
  try:
    return int(dataset.get(keyword) or default)
  except (TypeError, ValueError):
    return default


def _why_unread(dataset, syntax):
  kind = dataset.get('PhotometricInterpretation')
  if 'Rows' not in dataset or 'Columns' not in dataset or not kind:
    what = uid.UID(str(dataset.get('SOPClassUID', ''))).name
    return f'DICOM without an image ({what or "no storage class is named"})'
  if kind not in (*_COLOURS, *_GREYS, 'PALETTE COLOR'):
    return f'DICOM of the colours {kind}'
  stored = _number(dataset, 'BitsStored', 0)
  if stored and 'HighBit' in dataset and _number(dataset, 'HighBit', 0) >= stored:
    return f'DICOM with pixels in other than the lowest {stored} bits'
  try:
    if not isinstance(dataset.BitsAllocated, int) or not pixels.get_decoder(syntax).is_available:
      return f'DICOM in {syntax.name}'
  except NotImplementedError:
    return f'DICOM in {syntax.name}'
  except AttributeError:
    return 'DICOM without a number of bits'
  return ''


def _pixels(dataset, frame):
  try:
    return pixels.pixel_array(dataset, index=frame)
  except Exception as error:  # The decoders can raise any exception on a broken file.
    raise ValueError(f'cannot be decoded as {_syntax(dataset).name} ({_first_line(error)})') from error


def _first_line(error):
  lines = [line.strip() for line in str(error).splitlines() if line.strip()]
  first = lines[1] if len(lines) > 1 and lines[0].endswith(':') else lines[0] if lines else type(error).__name__
  return first.rstrip('.')


def _of_frame(dataset, frame):
  """Returns the elements that map the values of one frame."""
  found = pydicom.Dataset()
  for keyword in (*_TRANSFORMED, 'BitsStored', 'BitsAllocated', 'PixelRepresentation'):
    if keyword in dataset and dataset[keyword].value not in (None, ''):
      found[keyword] = dataset[keyword]
  for groups, place in (('SharedFunctionalGroupsSequence', 0), ('PerFrameFunctionalGroupsSequence', frame)):
    items = dataset.get(groups) or []
    for name in _TRANSFORMS if place < len(items) else ():
      for item in (items[place].get(name) or [])[:1]:
        for keyword in _TRANSFORMED:
          if keyword in item and item[keyword].value not in (None, ''):
            found[keyword] = item[keyword]
  if 'RescaleSlope' in found or 'RescaleIntercept' in found:  # pydicom takes neither if one is missing.
    found.RescaleSlope, found.RescaleIntercept = found.get('RescaleSlope', 1), found.get('RescaleIntercept', 0)
    if found.RescaleSlope == 0:
      raise ValueError('has a rescale slope of 0, which leaves nothing of its values')
  return found


def _image(dataset, frame, window, shown):
  raw, kind = _pixels(dataset, frame), dataset.PhotometricInterpretation
  if kind == 'PALETTE COLOR':
    raw = pixels.apply_color_lut(raw, dataset)[..., :3]
    return _eight_bits(raw, 8 * raw.dtype.itemsize)
  if raw.ndim == 3:
    return _eight_bits(raw, _number(dataset, 'BitsStored', 8 * raw.dtype.itemsize))
  elements = _of_frame(dataset, frame)
  found = pixels.apply_modality_lut(raw, elements)
  inverted = kind == 'MONOCHROME1'
  if window is not None:
    low, high = window
    unit = np.clip((found.astype(np.float32) - np.float32(low)) / np.float32(high - low), 0, 1)
  elif not shown:
    return _without_window(found, elements, raw, inverted)[..., np.newaxis]
  else:
    unit = _by_own_window(found, elements)
  unit = (1 - unit if inverted else unit).astype(np.float32)
  return unit[..., np.newaxis]


def _has_window(elements):
  return bool(elements.get('VOILUTSequence')) or (_first(elements, 'WindowCenter') is not None
                                                  and (_first(elements, 'WindowWidth') or 0) > 0)


def _first(dataset, keyword):
  value = dataset.get(keyword)
  if isinstance(value, pydicom.multival.MultiValue):
    value = value[0] if len(value) else None
  try:
    return None if value in (None, '') else float(value)
  except (TypeError, ValueError):
    return None


def _by_own_window(found, elements):
  """Returns brightness in 0..1 by the file's first table or window."""
  if not _has_window(elements):
    raise ValueError('has a window for some of its frames only')
  if elements.get('VOILUTSequence'):
    bits = elements.VOILUTSequence[0].LUTDescriptor[2]
    return pixels.apply_voi(found.astype(np.int64), elements).astype(np.float64) / (2**bits - 1)
  center, width = _first(elements, 'WindowCenter'), _first(elements, 'WindowWidth')
  x, function = found.astype(np.float64), elements.get('VOILUTFunction') or 'LINEAR'
  if function == 'SIGMOID':
    return 1 / (1 + np.exp(-4 * (x - center) / width))
  if function == 'LINEAR_EXACT':
    return np.clip((x - center) / width + 0.5, 0, 1)
  if width <= 1:
    return (x > center - 0.5).astype(np.float64)
  return np.clip((x - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def _without_window(found, elements, raw, inverted):
  """Returns values as a PNG would hold them: uint8 if the file has 8 unsigned bits, else uint16 or float32."""
  bits = _number(elements, 'BitsStored', 8 * raw.dtype.itemsize)
  whole_numbers = found.dtype.kind in 'iu' or (found == np.floor(found)).all()
  top = 2**bits - 1 if raw.dtype.kind == 'u' else 2**(bits - 1) - 1
  if inverted:
    slope, intercept = (float(elements.get(keyword) or default)
                        for keyword, default in (('RescaleSlope', 1), ('RescaleIntercept', 0)))
    found = (top * slope + intercept) - found.astype(np.float64)
  if raw.dtype.kind == 'u' and bits <= 8 and 0 <= found.min() and found.max() <= top and whole_numbers:
    return np.round(found * (255 / top)).astype(np.uint8)
  if whole_numbers and found.min() >= 0 and found.max() < 1 << 16:
    return found.astype(np.uint16)
  return found.astype(np.float32)


def _eight_bits(colours, bits):
  if bits <= 8:
    return colours.astype(np.uint8)
  return (colours >> (bits - 8)).astype(np.uint8)
