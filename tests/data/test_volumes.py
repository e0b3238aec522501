"""Files that hold several images or say themselves how they are shown: DICOM, NIfTI, TIFF of several pages, HEIC."""

import base64
import io
import pathlib
import re

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import pixels, uid

from tff_vision import configs
from tff_vision.data import build, images
from tff_vision.data.sources import decode, dicom, files, nifti, store

RNG = np.random.default_rng(0)
PYDICOM = pathlib.Path(pydicom.__file__).parent / 'data' / 'test_files'
MRICRON = pathlib.Path('/usr/share/mricron/templates')


def _dicom(path, values, **elements):
  """Writes a grey DICOM file, [height, width] or [frames, height, width], of 16 bits unless `bits` says otherwise."""
  path.parent.mkdir(parents=True, exist_ok=True)
  dataset = pydicom.Dataset()
  dataset.file_meta = pydicom.dataset.FileMetaDataset()
  dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
  dataset.SOPClassUID = uid.SecondaryCaptureImageStorage
  dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
  dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
  dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, 'MONOCHROME2'
  if values.ndim == 3:
    dataset.NumberOfFrames = len(values)
  dataset.Rows, dataset.Columns = values.shape[-2:]
  dataset.BitsAllocated = dataset.BitsStored = 8 * values.itemsize
  dataset.HighBit, dataset.PixelRepresentation = dataset.BitsStored - 1, int(values.dtype.kind == 'i')
  for keyword, value in elements.items():
    setattr(dataset, keyword, value)
  dataset.PixelData = values.tobytes()
  dataset.save_as(path, enforce_file_format=True)
  return path


def _build(root, **fields):
  return build.build(configs.DataConfig(**{'dataset': 'folder', 'data_dir': str(root), 'partition': 'iid',
                                           'num_clients': 1, 'image_size': 8} | fields), seed=0)


def _said(found, *words):
  return any(all(word in note for word in words) for note in found.notes)


def _shown_by_pydicom(dataset, frame):
  """Returns one frame in 0..1 as pydicom shows it, or the values themselves if the file has no window."""
  raw = pixels.pixel_array(dataset, index=frame)
  if dataset.PhotometricInterpretation == 'PALETTE COLOR':
    raw = pixels.apply_color_lut(raw, dataset)
    return (raw >> 8 if raw.dtype == np.uint16 else raw) / 255
  if raw.ndim == 3:
    return (raw >> (8 * raw.itemsize - 8)) / 255
  values = pixels.apply_modality_lut(raw, dataset)
  if 'WindowWidth' in dataset or 'VOILUTSequence' in dataset:
    shown = pixels.apply_voi_lut(values, dataset)
    slope, intercept = float(dataset.get('RescaleSlope', 1)), float(dataset.get('RescaleIntercept', 0))
    bits, signed = dataset.BitsStored, dataset.PixelRepresentation
    low, high = (-2**(bits - 1), 2**(bits - 1) - 1) if signed else (0, 2**bits - 1)
    if 'VOILUTSequence' in dataset:
      slope, intercept, low, high = 1, 0, 0, 2**dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    unit = (shown - (low * slope + intercept)) / ((high - low) * slope)
    return 1 - unit if dataset.PhotometricInterpretation == 'MONOCHROME1' else unit
  return values


def test_pydicoms_own_files_are_shown_as_pydicom_shows_them_or_named():
  read, refused = 0, []
  for path in sorted(path for path in PYDICOM.rglob('*') if path.is_file()):
    try:
      found = decode.opened(path)
      image = found.native(found.count - 1)
    except ValueError as error:
      assert str(error).startswith(str(path)) and '\n' not in str(error), error
      refused.append(path.name)
      continue
    dataset = pydicom.dcmread(path)
    if 'TransferSyntaxUID' not in dataset.file_meta:
      dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian
    expected = _shown_by_pydicom(dataset, found.count - 1)
    expected = expected.reshape(image.shape)
    if image.dtype == np.uint8 and image.shape[-1] == 3:
      expected = expected * 255
    elif image.dtype == np.uint8:
      expected = expected * (255 / (2**dataset.BitsStored - 1))
    np.testing.assert_allclose(image, expected, atol=0.51 if image.dtype == np.uint8 else 2e-6 * max(1, image.max()),
                               err_msg=path.name)
    assert found.count == int(dataset.get('NumberOfFrames', 1))
    read += 1
  assert read > 75
  # What pydicom cannot decode with free decoders (12 bits in JPEG), what is broken on purpose, and no images at all.
  assert {'JPEG-lossy.dcm', 'JPGExtended.dcm', 'MR_truncated.dcm', 'badVR.dcm', 'rtplan.dcm'} <= set(refused)
  with pytest.raises(ValueError, match=r'JPGExtended.dcm cannot be decoded as JPEG Extended \(Process 2 and 4\)'):
    decode.opened(PYDICOM / 'JPGExtended.dcm').native(0)
  with pytest.raises(ValueError, match=r'rtplan.dcm is a file of the format DICOM without an image \(RT Plan'):
    decode.opened(PYDICOM / 'rtplan.dcm')


def test_headers_find_truncated_files_without_reading_pixels(tmp_path):
  for path in sorted(path for path in PYDICOM.rglob('*.dcm')):
    seen, = files.survey(store.Files([str(path)]))
    if seen.kind == 'DICOM' and not seen.unread:
      try:
        found = decode.opened(path)
        found.native(0)
        assert seen.whole and seen.images == found.count, path
      except ValueError:  # Some are broken in ways that only the decoder sees.
        assert not seen.whole or path.name in ('JPEG-lossy.dcm', 'JPGExtended.dcm', 'badVR.dcm',
                                               'JPEG2000-embedded-sequence-delimiter.dcm')
  for name in ('CT_small.dcm', 'JPEG2000.dcm', 'MR_small_RLE.dcm', 'rtdose.dcm'):
    content = (PYDICOM / name).read_bytes()
    (tmp_path / 'x.dcm').write_bytes(content[:len(content) * 2 // 3])
    assert not files.survey(store.Files([str(tmp_path / 'x.dcm')]))[0].whole


def test_a_window_of_the_user_replaces_those_of_files(tmp_path):
  stored = RNG.integers(0, 4096, (6, 5)).astype(np.uint16)
  ct = _dicom(tmp_path / 'ct.dcm', stored, RescaleSlope='2', RescaleIntercept='-1024', WindowCenter='40',
              WindowWidth='400')
  film = _dicom(tmp_path / 'film.dcm', stored, PhotometricInterpretation='MONOCHROME1', BitsStored=12, HighBit=11)
  hounsfield = stored * 2.0 - 1024
  own = decode.read(ct, stored=images.StoredPixels(white=1.0, window=(0, 1), clips=False))[..., 0]
  np.testing.assert_allclose(own, np.clip((hounsfield - 39.5) / 399 + 0.5, 0, 1), atol=1e-6)
  chosen = images.StoredPixels(white=1.0, window=(-1000, 400))
  shown = np.clip((hounsfield + 1000) / 1400, 0, 1)
  np.testing.assert_allclose(decode.read(ct, stored=chosen)[..., 0], shown, atol=1e-6)
  # A model of 8-bit images gets what the window shows, in 0..255.
  np.testing.assert_array_equal(decode.read(ct)[..., 0], np.round(own * 255))
  np.testing.assert_array_equal(decode.native(film)[..., 0], 4095 - stored)
  np.testing.assert_allclose(decode.read(film, stored=images.StoredPixels(white=1.0, window=(1000, 3000)))[..., 0],
                             1 - np.clip((stored - 1000.0) / 2000, 0, 1), atol=1e-6)
  for function, shown in (('LINEAR_EXACT', lambda x: np.clip((x - 40) / 400 + 0.5, 0, 1)),
                          ('SIGMOID', lambda x: 1 / (1 + np.exp(-4 * (x - 40) / 400)))):
    path = _dicom(tmp_path / 'f.dcm', stored, RescaleSlope='2', RescaleIntercept='-1024', WindowCenter='40',
                  WindowWidth='400', VOILUTFunction=function)
    np.testing.assert_allclose(decode.native(path)[..., 0], shown(hounsfield), atol=1e-6)


def test_training_on_dicom_and_predicting_a_file_agree(tmp_path):
  for label in ('a', 'b'):
    for i in range(4):
      _dicom(tmp_path / 'x' / label / f'{i}.dcm', RNG.integers(0, 3000, (8, 8)).astype(np.uint16), WindowCenter='1500',
             WindowWidth='3000', PatientID=f'{label}{i}')
  found = _build(tmp_path / 'x')
  assert found.test.examples.x.dtype == np.float32 and _said(found, 'window of a DICOM file')
  again = {decode.as_stored(path, (8, 8, 1), found.stored_pixels).tobytes() for path in tmp_path.rglob('*.dcm')}
  assert {x.tobytes() for x in found.test.examples.x} <= again
  # Without windows the values are those of a 16-bit PNG, and Hounsfield units need a window of the user.
  for path in tmp_path.rglob('*.dcm'):
    _dicom(path, RNG.integers(-1000, 2000, (8, 8)).astype(np.int16))
  with pytest.raises(ValueError, match=r'.dcm holds values in -\d+..\d+, and nothing tells .*pixel_range'):
    _build(tmp_path / 'x')
  assert _build(tmp_path / 'x', pixel_range='-1000,2000').stored_pixels.window == (-1000, 2000)


def test_patients_stay_together_and_never_show(tmp_path):
  for patient in range(10):
    for film in range(3):
      _dicom(tmp_path / ('a' if patient % 2 else 'b') / f'1.2.{patient}.{film}',  # No suffix, as archives write them.
             RNG.integers(0, 255, (8, 8)).astype(np.uint8), PatientID=f'Miller-{patient}', InstitutionName='St. Mary')
  (tmp_path / 'a' / 'DICOMDIR').write_bytes(b'x')
  found = _build(tmp_path)
  assert len(found.test.examples) == 6 and found.train.num_examples(0) == 24
  trained, tested = ({x.tobytes() for x in part} for part in (found.train.examples(0).x, found.test.examples.x))
  for patient in range(10):
    own = {decode.read(path).tobytes() for path in tmp_path.rglob(f'1.2.{patient}.*')}
    assert own <= trained or own <= tested
  clients = _build(tmp_path, partition='natural', client_by='patient', num_clients=None)
  assert set(clients.train.client_ids) < {f'patient_{i}' for i in range(10)}
  assert len(clients.train) == 8 and all(clients.train.num_examples(i) == 3 for i in range(8))
  told = repr([clients, clients.notes, clients.train.client_ids, clients.fingerprint])
  assert 'Miller' not in told and len(clients.unseen.examples) == 6
  clinics = _build(tmp_path, partition='natural', client_by='institution', num_clients=None)
  assert clinics.train.client_ids == ['St. Mary']
  with pytest.raises(ValueError, match='client_by=patient has no effect with partition=iid'):
    _build(tmp_path, client_by='patient')
  _dicom(tmp_path / 'a' / '9.dcm', np.zeros((8, 8), np.uint8))
  with pytest.raises(ValueError, match='9.dcm names no patient, and client_by=patient needs one'):
    _build(tmp_path, partition='natural', client_by='patient', num_clients=None)


def test_a_manifest_may_name_patients(tmp_path):
  rows = ['path,label,patient']
  for i in range(20):
    Image.fromarray(RNG.integers(0, 256, (8, 8)).astype(np.uint8)).save(tmp_path / f'{i}.png')
    rows.append(f'{i}.png,{"ab"[i % 2]},p{i // 2 % 5 * 2 + i % 2}')
  (tmp_path / 'manifest.csv').write_text('\n'.join(rows))
  found = _build(tmp_path, partition='natural', client_by='patient', num_clients=None)
  assert {found.train.num_examples(i) for i in range(len(found.train))} == {2} and len(found.train) == 8


def _volume(path, array, affine=None, **header):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = nib.Nifti1Image(array, np.eye(4) if affine is None else affine)
  for name, value in header.items():
    image.header[name] = value
  nib.save(image, path)
  return path


def test_slices_are_seen_as_radiologists_see_them_however_they_are_stored(tmp_path):
  # [right, anterior, superior]; a bright voxel at the patient's right front bottom.
  body = np.zeros((4, 5, 6), np.int16)
  body[3, 4, 0], body[0, 0, 5] = 100, 50
  stored_otherwise = np.diag([-1.0, 1, -1, 1])
  stored_otherwise[:3, 3] = 3, 0, 5
  paths = [_volume(tmp_path / 'ras.nii.gz', body), _volume(tmp_path / 'lai.nii', body[::-1, :, ::-1], stored_otherwise),
           _volume(tmp_path / 'turned.nii', body.transpose(2, 0, 1), np.array(
               [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 1]], float))]
  for path in paths:
    axial = decode.opened(path)
    assert axial.count == 6 and axial.native(0).shape == (5, 4, 1)
    assert axial.native(0)[0, 0] == 1 and axial.native(5)[-1, -1] == 0.5  # Front is up, right is left.
    coronal = decode.opened(path, images.StoredPixels(slice_axis='coronal'))
    assert coronal.count == 5 and coronal.native(4)[-1, 0] == 1 and coronal.native(0)[0, -1] == 0.5
    sagittal = decode.opened(path, images.StoredPixels(slice_axis='sagittal'))
    assert sagittal.count == 4 and sagittal.native(3)[-1, 0] == 1 and sagittal.native(0)[0, -1] == 0.5
    count, values = nifti.values(path.read_bytes())
    assert count == 6 and values(0)[0, 0] == 100
    for axis, number in (('axial', 6), ('coronal', 5), ('sagittal', 4)):
      seen, = files.survey(store.Files([str(path)]), axis)
      assert (seen.images, seen.whole, seen.unread) == (number, True, '')


def test_values_of_volumes(tmp_path):
  volume = RNG.normal(size=(5, 6, 4)).astype(np.float32)
  low, high = volume.min(), volume.max()
  path = _volume(tmp_path / 'v.nii.gz', volume)
  first = volume[:, :, 0].T[::-1, ::-1]
  np.testing.assert_allclose(decode.native(path)[..., 0], (first - low) / (high - low), atol=1e-6)
  chosen = images.StoredPixels(white=1.0, window=(-1, 1))
  np.testing.assert_allclose(decode.read(path, stored=chosen)[..., 0], np.clip((first + 1) / 2, 0, 1), atol=1e-6)
  shown = _volume(tmp_path / 'cal.nii', volume, cal_min=-2, cal_max=2)
  np.testing.assert_allclose(decode.native(shown)[..., 0], np.clip((first + 2) / 4, 0, 1), atol=1e-6)
  scaled = nib.Nifti1Image((volume * 100).astype(np.int16), np.eye(4))
  scaled.header.set_slope_inter(0.01, 0)
  nib.save(scaled, tmp_path / 's.nii')
  np.testing.assert_allclose(decode.read(tmp_path / 's.nii', stored=chosen)[..., 0], np.clip((first + 1) / 2, 0, 1),
                             atol=0.006)
  labels = _volume(tmp_path / 'l.nii', RNG.integers(0, 200, (5, 6, 4, 3)).astype(np.uint8))
  series = decode.opened(labels)
  assert series.count == 12 and series.native(0).dtype == np.uint8
  stored = np.asanyarray(nib.load(labels).dataobj)
  np.testing.assert_array_equal(series.native(4 * 2 + 3)[..., 0], stored[:, :, 3, 2].T[::-1, ::-1])
  colours = np.zeros((3, 4, 2), [('R', 'u1'), ('G', 'u1'), ('B', 'u1')])
  colours['G'][0, 0, 1] = 9
  assert decode.opened(_volume(tmp_path / 'rgb.nii', colours)).native(1)[-1, -1].tolist() == [0, 9, 0]
  content = path.read_bytes()
  (tmp_path / 'half.nii.gz').write_bytes(content[:len(content) // 2])
  with pytest.raises(ValueError, match=r'half.nii.gz cannot be read as NIfTI'):
    decode.native(tmp_path / 'half.nii.gz')
  assert not files.survey(store.Files([str(tmp_path / 'half.nii.gz')]))[0].whole
  with pytest.raises(ValueError, match=r'c.nii is a file of the format NIfTI of complex numbers, which is not read'):
    decode.native(_volume(tmp_path / 'c.nii', volume.astype(np.complex64)))


@pytest.mark.skipif(not MRICRON.is_dir(), reason='needs the Debian package mricron-data')
def test_mricrons_volumes_are_read_as_nibabel_reads_them():
  for path in sorted(MRICRON.glob('*.nii.gz')):
    found = decode.opened(path)
    volume = np.asanyarray(nib.as_closest_canonical(nib.load(path)).dataobj).astype(np.float64)
    middle = found.native(found.count // 2)
    expected = volume[:, :, found.count // 2].T[::-1, ::-1]
    if middle.dtype != np.uint8:
      ends = float(nib.load(path).header['cal_min']), float(nib.load(path).header['cal_max'])
      low, high = ends if ends[0] < ends[1] else (volume.min(), volume.max())
      expected = np.clip((expected - low) / (high - low), 0, 1)
    np.testing.assert_allclose(middle[..., 0], expected, atol=1e-6, err_msg=path.name)


def test_a_folder_of_volumes_and_pages_gives_slices_that_stay_together(tmp_path):
  for label in ('a', 'b'):
    for i in range(5):
      _volume(tmp_path / 'n' / label / f'{i}.nii.gz', RNG.integers(0, 900, (7, 6, 4)).astype(np.int16))
      pages = [Image.fromarray(RNG.integers(0, 256, (9, 8)).astype(np.uint8)) for _ in range(3)]
      (tmp_path / 't' / label).mkdir(parents=True, exist_ok=True)
      pages[0].save(tmp_path / 't' / label / f'{i}.tif', save_all=True, append_images=pages[1:])
  found = _build(tmp_path / 'n', image_size=None)
  assert len(found.test.examples) == 8 and found.train.num_examples(0) == 32 and found.spec.shape == (6, 7, 1)
  assert _said(found, '10 volumes have 40 slices') and _said(found, 'axial slices', 'right at the left')
  held_out = [path for path in (tmp_path / 'n').rglob('*.gz') if
              decode.all_as_stored(path, (6, 7, 1), found.stored_pixels)[0].tobytes() in {
                  x.tobytes() for x in found.test.examples.x}]
  every = [x.tobytes() for path in held_out for x in decode.all_as_stored(path, (6, 7, 1), found.stored_pixels)]
  assert sorted(every) == sorted(x.tobytes() for x in found.test.examples.x)
  assert _build(tmp_path / 'n', slice_axis='sagittal').train.num_examples(0) == 7 * 8
  found = _build(tmp_path / 't', image_size=None)
  assert len(found.test.examples) == 6 and found.train.num_examples(0) == 24 and _said(found, '10 files have several')
  path = tmp_path / 't' / 'a' / '0.tif'
  with Image.open(path) as image:
    image.seek(2)
    np.testing.assert_array_equal(decode.opened(path).native(2)[..., 0], np.asarray(image))


def test_smaller_copies_in_a_tiff_are_no_pages(tmp_path):
  page, small = (Image.fromarray(RNG.integers(0, 256, (side, side)).astype(np.uint8)) for side in (8, 4))
  small.encoderinfo = {'tiffinfo': {254: 1}}
  page.save(tmp_path / 'p.tif', save_all=True, append_images=[small])
  assert decode.opened(tmp_path / 'p.tif').count == 1


# 64 x 64 pixels of the colour (200, 40, 40), written by libheif 1.23 with x265.
HEIC = base64.b64decode(re.sub(r'\s', '', '''
AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAVZtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAACJpbG9jAAAAAERA
AAEAAQAAAAABegABAAAAAAAAAB4AAAAjaWluZgAAAAAAAQAAABVpbmZlAgAAAAABAABodmMxAAAAAA5waXRtAAAAAAABAAAA1mlwcnAAAAC3aXBjbwAA
AHhodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH//wNwAAADAJAAAAMAAAMAHroCQGEAAQArQgEBA3AAAAMAkAAAAwAAAwAeoCCBBZbq
SSmubgIaDAgAAAMAyAAAAwAIQGIAAQAHRAHBcrAiQAAAABNjb2xybmNseAABAA0ABoAAAAAUaXNwZQAAAAAAAABAAAAAQAAAABBwaXhpAAAAAAMICAgA
AAAXaXBtYQAAAAAAAAABAAEEgQIDBAAAACZtZGF0AAAAGigBrwngITl1X//8aT//+/oPIfsFGnQcw9fg
'''))


def test_heic(tmp_path):
  (tmp_path / 'x.jpg').write_bytes(HEIC)
  image = decode.read(tmp_path / 'x.jpg')
  assert image.shape == (64, 64, 3) and np.abs(image.astype(int) - [200, 40, 40]).max() <= 4
  (tmp_path / 'x.heic').write_bytes(HEIC[:len(HEIC) // 2])
  with pytest.raises(ValueError, match='x.heic is no PNG, .*corrupt'):
    decode.read(tmp_path / 'x.heic')
  for length in (len(HEIC), len(HEIC) - 1, len(HEIC) // 2, 40):
    (tmp_path / 'x.heic').write_bytes(HEIC[:length])
    assert files.survey(store.Files([str(tmp_path / 'x.heic')]))[0].whole == (length == len(HEIC))


@pytest.mark.parametrize('brand', [b'avif', b'mif1'])
def test_avif(tmp_path, brand):
  red = np.full((48, 64, 3), (200, 40, 40), np.uint8)
  red[:8] = (20, 20, 200)
  whole = io.BytesIO()
  Image.fromarray(red).save(whole, 'AVIF', quality=95, exif=Image.Exif())
  content = whole.getvalue()
  assert content[8:12] == b'avif' and b'mif1' in content[16:32]
  content = content.replace(b'ftypavif', b'ftyp' + brand, 1)
  (tmp_path / 'x.png').write_bytes(content)
  image = decode.read(tmp_path / 'x.png')
  assert image.shape == red.shape and np.abs(image.astype(int) - red)[:, 4:-4].mean() < 3
  for length in (len(content), len(content) - 1, 40):
    (tmp_path / 'x.png').write_bytes(content[:length])
    assert files.survey(store.Files([str(tmp_path / 'x.png')]))[0].whole == (length == len(content))
  with pytest.raises(ValueError, match='x.png is no PNG, .*corrupt'):
    decode.read(tmp_path / 'x.png')


def test_patients_digests_are_of_this_process_only():
  content = (PYDICOM / 'CT_small.dcm')
  with open(content, 'rb') as file:
    found = dicom.header(file, content.read_bytes()[-4096:], content.stat().st_size)
  assert len(found.patient) == 32 and found.institution == 'JFK IMAGING CENTER'
  assert str(pydicom.dcmread(content).PatientID) not in repr(found)
