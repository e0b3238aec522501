"""Detects image formats by their first bytes, and names those that cannot be read."""

import dataclasses
import hashlib
import os
import pathlib
import re
import struct
import zlib

READ = 'PNG, JPEG, GIF, BMP, WebP, TIFF, HEIC, AVIF, DICOM or NIfTI'
SUFFIXES = ('.png', '.jpg', '.jpeg', '.jpe', '.jfif', '.gif', '.bmp', '.dib', '.webp', '.tif', '.tiff', '.heic',
            '.heif', '.avif', '.dcm', '.dicom', '.ima', '.nii', '.nii.gz')
# Files with these names are images too, but of unsupported formats.
UNREAD_SUFFIXES = {
    '.jp2': 'JPEG 2000', '.j2k': 'JPEG 2000', '.jxl': 'JPEG XL', '.svg': 'SVG', '.psd': 'Photoshop',
    '.exr': 'OpenEXR', '.ppm': 'Netpbm', '.pgm': 'Netpbm', '.pbm': 'Netpbm', '.pnm': 'Netpbm', '.nrrd': 'NRRD',
    '.mha': 'MetaImage', '.mhd': 'MetaImage', '.svs': 'Aperio', '.ndpi': 'Hamamatsu', '.dng': 'camera raw',
    '.cr2': 'camera raw', '.cr3': 'camera raw', '.nef': 'camera raw', '.arw': 'camera raw', '.tga': 'Targa',
    '.ico': 'icon', '.pcx': 'PCX', '.fits': 'FITS', '.npy': 'NumPy array', '.pdf': 'PDF',
    '.hdr': 'Analyze or NIfTI in two files', '.img': 'Analyze or NIfTI in two files'}
_DICOM_SUFFIXES = ('.dcm', '.dicom', '.ima')
# A DICOM file without a preamble begins with an element of the group 0002 or 0008, in either byte order.
_DICOM_GROUPS = (b'\x02\0', b'\x08\0', b'\0\x02', b'\0\x08')
_HEAD, _TAIL = 512, 4096
# First bytes of a file, and last bytes of a complete one; a GIF may have bytes after its trailer.
_READ = {b'\x89PNG\r\n\x1a\n': 'PNG', b'\xff\xd8\xff': 'JPEG', b'GIF8': 'GIF', b'BM': 'BMP', b'II*\0': 'TIFF',
         b'MM\0*': 'TIFF'}
_LAST = {'PNG': b'IEND\xaeB\x60\x82', 'JPEG': b'\xff\xd9'}
_UNREAD = {b'%PDF': 'PDF', b'8BPS': 'Photoshop', b'\x76\x2f\x31\x01': 'OpenEXR', b'\x93NUMPY': 'NumPy array',
           b'\0\0\0\x0cjP  ': 'JPEG 2000', b'\xff\x4f\xff\x51': 'JPEG 2000', b'\0\0\0\x0cJXL ': 'JPEG XL',
           b'\xff\x0a': 'JPEG XL', b'<svg': 'SVG', b'<?xml': 'SVG or XML', b'<!DOC': 'HTML', b'<html': 'HTML',
           b'NRRD': 'NRRD', b'SIMPLE  =': 'FITS', b'II+\0': 'BigTIFF', b'MM\0+': 'BigTIFF', b'PK\x03\x04': 'ZIP',
           b'\x1f\x8b': 'gzip', b'\0\0\1\0': 'icon', b'\x89HDF': 'HDF5', b'Rar!': 'RAR', b'7z\xbc\xaf': '7z'}
_NETPBM = re.compile(rb'P[1-7]\s')
# Frames of a JPEG (SOF) that hold Huffman-coded or arithmetic-coded baseline and progressive images.
_FRAMES = range(0xc0, 0xd0)
_NO_FRAMES, _READ_FRAMES = (0xc4, 0xc8, 0xcc), (0xc0, 0xc1, 0xc2, 0xc9, 0xca)
_HEIC_BRANDS = (b'heic', b'heix', b'heim', b'heis', b'mif1')
_AVIF_BRANDS = (b'avif', b'avis')


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Glance:
  """What is known of a file from a few of its bytes.

  Attributes:
    kind: One of the supported formats, or '' for any other file.
    unread: The name of an unsupported format, or ''.
    whole: Whether the file begins and ends like an image; damage in the middle is found when it is decoded.
    deep: Whether it is a PNG with 16 bits per channel.
    digest: Digest of the file's length, beginning and end.
    images: The number of images in it: pages, frames or slices.
    patient: A digest, under a key that only this process has, of the patient that a DICOM file names; or ''.
    institution: The institution that a DICOM file names, or ''.
  """
  kind: str
  unread: str
  whole: bool
  deep: bool
  digest: bytes
  images: int = 1
  patient: str = ''
  institution: str = ''


def is_image_name(name: str) -> bool:
  """Returns whether a file's name has the suffix of a supported format."""
  return name.lower().endswith(SUFFIXES)


def kind_of(head: bytes, name: str | pathlib.Path = '') -> str:
  """Returns the supported format of a file with these first bytes (at least 348, unless it is shorter), or ''."""
  if head[:4] == b'RIFF' and head[8:12] == b'WEBP':
    return 'WebP'
  if head[128:132] == b'DICM':
    return 'DICOM'
  if head[4:8] == b'ftyp' and head[8:12] in _HEIC_BRANDS:
    return 'AVIF' if _names_avif(head) else 'HEIC'
  if head[4:8] == b'ftyp' and head[8:12] in _AVIF_BRANDS:
    return 'AVIF'
  if _is_nifti(head) or head[:2] == b'\x1f\x8b' and (str(name).lower().endswith('.nii.gz')
                                                    or _is_nifti(_unzipped(head))):
    return 'NIfTI'
  if found := next((kind for first, kind in _READ.items() if head.startswith(first)), ''):
    return found
  return 'DICOM' if head[:2] in _DICOM_GROUPS and str(name).lower().endswith(_DICOM_SUFFIXES) else ''


def _names_avif(head):
  """Whether a file that begins as any HEIF file says among its compatible brands that it is AVIF."""
  brands = head[16:int.from_bytes(head[:4], 'big')]
  return head[8:12] == b'mif1' and b'avif' in brands and b'heic' not in brands


def _is_nifti(head):
  return head[344:348] == b'n+1\0' or head[4:8] == b'n+2\0'


def _unzipped(head):
  try:
    return zlib.decompressobj(wbits=31).decompress(head, 352)
  except zlib.error:
    return b''


def unread_kind(head: bytes, path: str | pathlib.Path = '') -> str:
  """Returns the unsupported format that these first bytes or the file's name indicate, or ''."""
  if head[344:348] == b'ni1\0':
    return 'NIfTI in two files'
  if head[4:8] == b'ftyp':
    return 'video or HEIF'
  if _NETPBM.match(head):
    return 'Netpbm'
  if found := next((name for first, name in _UNREAD.items() if head.startswith(first)), ''):
    return unread_suffix(path) or found
  return unread_suffix(path)


def unread_jpeg(content: bytes) -> str:
  """Returns the name of a JPEG process that is not read, or '' (ITU-T T.81, B.1.1.3 and B.2.2)."""
  place = 2
  while place + 5 < len(content) and content[place] == 0xff:
    marker = content[place + 1]
    if marker == 0xff:  # Any number of these may fill up.
      place += 1
      continue
    if marker in _FRAMES and marker not in _NO_FRAMES:
      if content[place + 4] != 8:
        return f'JPEG of {content[place + 4]} bits'
      return '' if marker in _READ_FRAMES else 'lossless or hierarchical JPEG'
    place += 2 + int.from_bytes(content[place + 2:place + 4], 'big')
  return ''


def unread_suffix(path: str | pathlib.Path) -> str:
  """Returns the name of the unsupported format that a file's name indicates, or ''."""
  name = str(path).lower()
  return next((kind for suffix, kind in UNREAD_SUFFIXES.items() if name.endswith(suffix)), '')


def glance(path: str | pathlib.Path) -> Glance:
  """Looks at the first and the last bytes of a file; the kind is '' if the file cannot be opened."""
  try:
    with open(path, 'rb') as data:
      head = data.read(_HEAD)
      size = data.seek(0, os.SEEK_END)
      data.seek(max(0, size - _TAIL))
      tail = data.read()
  except OSError:
    return Glance(kind='', unread='', whole=False, deep=False, digest=b'')
  return _glance(head, tail, size, path)


def glance_at(content: bytes, name: str) -> Glance:
  """Looks at the first and the last bytes of a file with this content."""
  return _glance(content[:_HEAD], content[-_TAIL:], len(content), name)


def _glance(head, tail, size, name):
  kind = kind_of(head, name)
  digest = hashlib.blake2b(struct.pack('<Q', size) + head + tail, digest_size=16).digest()
  return Glance(kind=kind, unread='' if kind else unread_kind(head, name), digest=digest,
                whole=bool(kind) and _is_whole(kind, head, tail, size),
                deep=kind == 'PNG' and head[24:25] == b'\x10')


def _is_whole(kind, head, tail, size):
  if kind == 'WebP':
    return size >= 8 + struct.unpack('<I', head[4:8])[0]
  if kind == 'BMP':  # Some programs write no length, or the length of the pixels only.
    return size > 26 and size >= struct.unpack('<I', head[2:6])[0]
  if kind in ('HEIC', 'AVIF'):  # Their boxes may be in any order: only decoding tells.
    return False
  return size > 8 and _LAST.get(kind, b'') in tail
