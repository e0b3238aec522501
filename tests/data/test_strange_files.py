"""Image files that few programs write: the right pixels, or one sentence that says what the file is."""

import io
import os
import struct

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from tff_vision import configs
from tff_vision.data import build
from tff_vision.data.sources import annotated, decode, files, mask_reading

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 256, (6, 8), dtype=np.uint8)
PHOTOMETRIC, BITS, WIDTH, SAMPLE_FORMAT = 262, 258, 256, 339


def _saved(path, image, tags=(), **options):
  """Writes an image and replaces the values of tags in its first directory."""
  path.parent.mkdir(parents=True, exist_ok=True)
  made = io.BytesIO()
  Image.fromarray(image).save(made, path.suffix[1:].upper().replace('TIF', 'TIFF').replace('JPG', 'JPEG'), **options)
  content = bytearray(made.getvalue())
  start, = struct.unpack_from('<I', content, 4)
  for entry in range(struct.unpack_from('<H', content, start)[0] if tags else 0):
    place = start + 2 + 12 * entry
    tag, kind = struct.unpack_from('<HH', content, place)
    if tag in dict(tags):
      struct.pack_into('<H' if kind == 3 else '<I', content, place + 8, dict(tags)[tag])
  path.write_bytes(content)
  return path


def _folder(root, make, n=5):
  for label in 'ab':
    for number in range(n):
      make(root / label / f'{number}')
  return root


def _build(root, **fields):
  return build.build(configs.DataConfig(**{'dataset': 'folder', 'data_dir': str(root), 'partition': 'iid',
                                           'num_clients': 1} | fields), seed=0)


def test_a_tiff_of_16_bits_whose_zero_is_white_is_turned_over(tmp_path):
  values = GREY.astype(np.uint16) * 200
  path = _saved(tmp_path / 'a.tif', values, {PHOTOMETRIC: 0})
  np.testing.assert_array_equal(decode.native(path)[..., 0], 65535 - values)
  np.testing.assert_array_equal(decode.native(_saved(tmp_path / 'b.tif', values))[..., 0], values)


def test_a_tiff_of_signed_bytes_keeps_its_signs(tmp_path):
  signed = GREY.view(np.int8)
  path = _saved(tmp_path / 'a.tif', GREY, tiffinfo={SAMPLE_FORMAT: 2})
  np.testing.assert_array_equal(decode.native(path)[..., 0], signed.astype(np.float32))
  _folder(tmp_path / 'set', lambda name: _saved(name.with_suffix('.tif'), GREY, tiffinfo={SAMPLE_FORMAT: 2}))
  with pytest.raises(ValueError, match='pixel_range=BLACK,WHITE'):
    _build(tmp_path / 'set')


def test_a_tiff_that_no_reader_knows_is_named_and_not_called_corrupt(tmp_path):
  doubles = {BITS: 64, WIDTH: 4}
  path = _saved(tmp_path / 'a.tif', (GREY / 255).astype(np.float32), doubles)
  with pytest.raises(ValueError, match='a.tif is a file of the format TIFF with 1 floats of 64 bits'):
    decode.native(path)
  assert files.survey([str(path)])[0].unread == 'TIFF with 1 floats of 64 bits in a pixel'
  path.write_bytes(path.read_bytes()[:-40])
  with pytest.raises(ValueError, match='corrupt'):
    decode.native(path)
  with pytest.raises(ValueError, match='floats or signed numbers of which the smallest is white'):
    decode.native(_saved(tmp_path / 'b.tif', (GREY / 255).astype(np.float32), {PHOTOMETRIC: 0}))


@pytest.mark.parametrize('suffix', ['tif', 'png', 'jpg', 'webp'])
def test_the_size_of_a_turned_image_is_that_of_its_pixels(tmp_path, suffix):
  tag = Image.Exif()
  tag[0x0112] = 6
  path = _saved(tmp_path / f'a.{suffix}', GREY, exif=tag)
  assert decode.native(path).shape[:2] == (8, 6)
  assert annotated._size(path) == mask_reading.outline(path, 'axial').size == (8, 6)


def test_other_processes_of_jpeg_and_netpbm_are_named(tmp_path):
  content = _saved(tmp_path / 'a.jpg', GREY).read_bytes()
  for name, changed in (('lossless or hierarchical JPEG', content.replace(b'\xff\xc0', b'\xff\xc3', 1)),
                        ('JPEG of 12 bits', content.replace(b'\xff\xc0\0\x0b\x08', b'\xff\xc1\0\x0b\x0c', 1)),
                        ('Netpbm', b'P6 2 2 255\n' + bytes(12))):
    (tmp_path / 'b.jpg').write_bytes(changed)
    with pytest.raises(ValueError, match=f'b.jpg is a file of the format {name}, which is not read'):
      decode.native(tmp_path / 'b.jpg')
  (tmp_path / 'b.jpg').write_bytes(content[:200])
  with pytest.raises(ValueError, match='or it is corrupt'):
    decode.native(tmp_path / 'b.jpg')


def test_pipes_and_links_in_a_circle_neither_hang_nor_end_in_a_traceback(tmp_path):
  _folder(tmp_path, lambda name: _saved(name.with_suffix('.png'), GREY))
  os.mkfifo(tmp_path / 'a' / 'pipe.png')
  os.mkfifo(tmp_path / 'b' / 'IM0001')
  (tmp_path / 'circle').symlink_to('circle')
  found = _build(tmp_path)
  assert found.class_names == ('a', 'b') and any('pipe or device' in note for note in found.notes)
  (tmp_path / 'a' / 'x.png').symlink_to('x.png')
  with pytest.raises(ValueError, match='x.png cannot be read .Too many levels of symbolic links.'):
    _build(tmp_path)
  assert len(_build(tmp_path, corrupt_images='skip').test.examples) == 2


def test_a_folder_whose_name_is_no_text_is_refused_by_name(tmp_path):
  folder = os.fsencode(tmp_path) + b'/caf\xe9'
  os.mkdir(folder)
  _saved(tmp_path / 'x' / 'a.png', GREY)
  with open(folder + b'/a.png', 'wb') as file:
    file.write((tmp_path / 'x' / 'a.png').read_bytes())
  with pytest.raises(ValueError, match=r"folder b'caf\\xe9' has a name that is no UTF-8"):
    _build(tmp_path)


def _dicom(path, values, **elements):
  made = pydicom.Dataset()
  made.file_meta = pydicom.dataset.FileMetaDataset()
  made.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
  made.file_meta.MediaStorageSOPClassUID = made.SOPClassUID = uid.SecondaryCaptureImageStorage
  made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID = '1.2.3'
  made.Rows, made.Columns = values.shape
  made.SamplesPerPixel, made.PhotometricInterpretation, made.PixelRepresentation = 1, 'MONOCHROME2', 0
  made.BitsAllocated, made.BitsStored, made.HighBit = 16, 12, 11
  made.add_new('PixelData', 'OW', values.astype('<u2').tobytes())
  for name, value in elements.items():
    setattr(made, name, value)
  made.save_as(path, enforce_file_format=True)
  return path


@pytest.mark.parametrize(('elements', 'slope', 'intercept'), [
    ({'RescaleSlope': 2}, 2, 0), ({'RescaleIntercept': -1000}, 1, -1000),
    ({'RescaleSlope': '', 'RescaleIntercept': ''}, 1, 0), ({'RescaleSlope': 2, 'RescaleIntercept': ''}, 2, 0)])
def test_half_a_rescaling_of_dicom_counts(tmp_path, elements, slope, intercept):
  values = GREY.astype(np.uint16) * 4
  found = decode.native(_dicom(tmp_path / 'a.dcm', values, **elements))
  np.testing.assert_array_equal(found[..., 0], values * float(slope) + intercept)


def test_dicom_of_which_nothing_right_can_be_shown_is_refused(tmp_path):
  values = GREY.astype(np.uint16) * 4
  with pytest.raises(ValueError, match='a rescale slope of 0'):
    decode.native(_dicom(tmp_path / 'a.dcm', values, RescaleSlope=0, RescaleIntercept=0))
  with pytest.raises(ValueError, match='DICOM with pixels in other than the lowest 12 bits'):
    decode.native(_dicom(tmp_path / 'a.dcm', values << 4, HighBit=15))


def test_a_nifti_header_cannot_ask_for_the_impossible(tmp_path):
  volume = RNG.integers(0, 256, (3, 4, 5)).astype(np.int16)
  image = nib.Nifti1Image(volume, np.eye(4))
  image.header['cal_max'] = np.inf  # No range: the volume's own counts.
  nib.save(image, tmp_path / 'a.nii')
  found = decode.opened(tmp_path / 'a.nii')
  slices = np.stack([found.native(number) for number in range(found.count)])
  assert slices.min() == 0 and slices.max() == 1
  content = bytearray((tmp_path / 'a.nii').read_bytes())
  struct.pack_into('<8h', content, 40, 3, 32000, 32000, 32000, 1, 1, 1, 1)
  (tmp_path / 'a.nii').write_bytes(content)
  with pytest.raises(ValueError, match=r'a.nii cannot be read as NIfTI \([^\n]*\)'):
    decode.native(tmp_path / 'a.nii')


def _masks(root, masks, suffix='png'):
  for number, mask in enumerate(masks):
    _saved(root / 'images' / f'{number}.png', GREY)
    (root / 'masks').mkdir(exist_ok=True)
    (mask if isinstance(mask, Image.Image) else Image.fromarray(mask)).save(root / 'masks' / f'{number}.{suffix}')
  return root


def test_masks_of_two_whites_are_asked_about(tmp_path):
  mask = (GREY > 99).astype(np.uint8)
  _masks(tmp_path, [mask, mask * 255] * 3)
  with pytest.raises(ValueError, match=r'1.png holds 0 and 255, and \S+0.png 0 and 1: .* ignore_index=255'):
    _build(tmp_path)
  assert _build(tmp_path, ignore_index=255).class_names == ('background', '1')
  _masks(tmp_path, [np.where(GREY > 200, 255, mask).astype(np.uint8)])  # One holds both, so 255 is no class.
  assert any('255 in masks do not count' in note for note in _build(tmp_path).notes)


def test_clients_whose_white_may_not_count_are_asked_about(tmp_path):
  """One site writes its only class as 255, another class numbers: the first would be left with background alone."""
  for client, values in (('a', (255, 0, 255)), ('b', (1, 2, 1))):
    for number, value in enumerate(values):
      at = tmp_path / client
      _saved(at / 'images' / f'{number}.png', GREY + number)
      _saved(at / 'masks' / f'{number}.png', np.where(GREY > np.median(GREY), value, 0).astype(np.uint8))
  with pytest.raises(ValueError, match=r"client 'a' hold 0 and 255 only, and those of client 'b' \[0, 1, 2\]"):
    _build(tmp_path)
  assert _build(tmp_path, ignore_index=255).class_names == ('background', '1', '2')
  beside = np.where(GREY > np.median(GREY), 1, 0).astype(np.uint8)
  beside[0, 0] = 255  # So 255 is no class.
  _saved(tmp_path / 'b' / 'masks' / '0.png', beside)
  assert _build(tmp_path).class_names == ('background', '1', '2')


def test_what_a_mask_cannot_say_is_refused(tmp_path):
  mask = (GREY > 99).astype(np.uint8)
  colours = np.dstack([mask * 0] * 3 + [mask * 255])
  with pytest.raises(ValueError, match='0.png has transparent and opaque pixels of one colour, #000000'):
    _build(_masks(tmp_path / 'alpha', [colours] * 5))
  opaque = np.dstack([mask * 255] * 3 + [mask * 0 + 255])
  assert _build(_masks(tmp_path / 'opaque', [opaque] * 5)).class_names == ('background', '1')
  with pytest.raises(ValueError, match=r'0.tif holds floats in 0..0.7'):
    _build(_masks(tmp_path / 'floats', [(mask * 0.7).astype(np.float32)] * 5, 'tif'))
  _masks(tmp_path / 'dicom', [mask] * 5)
  (tmp_path / 'dicom' / 'masks' / '0.png').unlink()
  _dicom(tmp_path / 'dicom' / 'masks' / '0.dcm', GREY)
  with pytest.raises(ValueError, match='0.dcm is DICOM, and masks are read as PNG'):
    _build(tmp_path / 'dicom')


@pytest.mark.parametrize('encoding', ['utf-16', 'cp1252'])
def test_a_list_of_mask_classes_is_read_in_any_encoding(tmp_path, encoding):
  _masks(tmp_path, [(GREY > 99).astype(np.uint8)] * 5)
  (tmp_path / 'classes.txt').write_bytes('fond\nfêlé'.encode(encoding))
  assert _build(tmp_path).class_names == ('fond', 'fêlé')
