"""Masks of volumes and of several pages: slice for slice with their images, or one label for a whole volume."""

import gzip
import io
import subprocess
import sys

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from tff_vision import configs, labels
from tff_vision.data import build
from tff_vision.data.sources import decode, folders, nifti

RNG = np.random.default_rng(0)
SHAPE = (7, 6, 5)  # Right, anterior, superior.


def _nifti(path, values, axes='RAS', shift=0.0):
  """Writes values along RAS+ in another order of axes, so that the header and not the array says where they are."""
  path.parent.mkdir(parents=True, exist_ok=True)
  image = nib.Nifti1Image(values, np.array([[1, 0, 0, shift], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1]], float))
  turn = nib.orientations.ornt_transform(nib.orientations.io_orientation(image.affine),
                                         nib.orientations.axcodes2ornt(axes))
  nib.save(image.as_reoriented(turn), path)


def _volume(number):
  """Returns a volume and its mask, which tell each other's slices: both count along the superior axis."""
  image = RNG.integers(0, 50, SHAPE).astype(np.uint8) + 100
  mask = np.zeros(SHAPE, np.uint8)
  mask[:3, :, number % 2:4] = 1
  mask[5:, 4:, 2:] = 2
  image[mask > 0] += 60 * mask[mask > 0]
  return image, mask


def _pairs(root, count=4, axes='RAS', kind=np.uint8):
  found = []
  for number in range(count):
    image, mask = _volume(number)
    _nifti(root / 'imagesTr' / f'{number}_0000.nii.gz', image, axes='LPS')
    _nifti(root / 'labelsTr' / f'{number}.nii.gz', mask.astype(kind), axes=axes)
    found.append((image, mask))
  return found


def _load(root, **fields):
  return folders.load(configs.DataConfig(dataset='folder', data_dir=str(root), **{'test_fraction': 0.5} | fields))


def _axial(volume):
  return np.stack([volume[:, :, place].T[::-1, ::-1] for place in range(volume.shape[2])])


@pytest.mark.parametrize(('axes', 'kind'), [('RAS', np.uint8), ('ASL', np.int16), ('PIR', np.float32)])
def test_slices_of_a_volume_have_the_slices_of_its_mask(tmp_path, axes, kind):
  truth = _pairs(tmp_path, axes=axes, kind=kind)
  found = _load(tmp_path)
  assert found.class_names == ('background', '1', '2')
  for part in (found.train, found.test):
    examples = part.take(np.arange(len(part)))
    assert len(part) == 2 * SHAPE[2] and examples.x.shape[1:] == (6, 7, 1) and examples.y.shape[1:] == (6, 7)
    assert any(np.array_equal(examples.x[:5, ..., 0], _axial(image)) and np.array_equal(examples.y[:5], _axial(mask))
               for image, mask in truth)
    np.testing.assert_array_equal(part.tags, labels.tags(examples.y, 3))
    np.testing.assert_array_equal(part.take([7, 1]).y, examples.y[[7, 1]])
  assert _load(tmp_path, slice_axis='sagittal').train.shape == (5, 6, 1)


def test_a_volume_is_one_example_with_its_mask(tmp_path):
  truth = _pairs(tmp_path)
  found = _load(tmp_path, volume_depth=5)
  assert len(found.train) == len(found.test) == 2 and found.train.shape == (6, 7, 5)
  examples = found.train.take(np.arange(2))
  assert examples.labels is labels.Kind.VOLUME and examples.y.shape == (2, 6, 7, 5)
  for x, y in zip(examples.x, examples.y, strict=True):
    x, y = (np.moveaxis(each, -1, 0) for each in (x, y))
    assert any(np.array_equal(x, _axial(image)) and np.array_equal(y, _axial(mask)) for image, mask in truth)
  np.testing.assert_array_equal(found.train.tags, labels.tags(examples.y, 3))
  small = _load(tmp_path, volume_depth=10, image_size=3).train.take(np.arange(2))
  assert small.x.shape == small.y.shape == (2, 3, 3, 10)
  np.testing.assert_array_equal(small.y[..., ::2], small.y[..., 1::2])  # Of five slices, each is taken twice.
  images = build.build(configs.DataConfig(dataset='folder', data_dir=str(tmp_path), volume_depth=5, partition='iid',
                                          num_clients=2, test_fraction=0.5), seed=0)
  assert images.spec.labels is labels.Kind.VOLUME and images.spec.label_shape == (6, 7, 5)
  assert any('All volumes are brought to 6x7x5' in note for note in images.notes)


def test_pages_of_a_tiff_have_the_pages_of_its_mask(tmp_path):
  for name, top in (('images', 255), ('masks', 3)):
    (tmp_path / name).mkdir()
    for number in range(4):
      pages = [Image.fromarray(RNG.integers(0, top, (6, 5)).astype(np.uint8)) for _ in range(3)]
      pages[0].save(tmp_path / name / f'{number}.tif', save_all=True, append_images=pages[1:])
  found = _load(tmp_path)
  assert len(found.train) == len(found.test) == 6
  with Image.open(tmp_path / 'masks' / '0.tif') as first:
    first.seek(2)
    last = np.asarray(first)
  both = np.concatenate([found.train.y, found.test.y])
  assert any(np.array_equal(mask, last) for mask in both)
  Image.fromarray(np.zeros((6, 5), np.uint8)).save(tmp_path / 'masks' / '2.tif')
  with pytest.raises(ValueError, match=r'2.tif holds 1 masks, pages or slices, and its image .*2.tif 3 images'):
    _load(tmp_path)


def _broken(root, values, **options):
  _pairs(root)
  _nifti(root / 'labelsTr' / '1.nii.gz', values, **options)



@pytest.mark.parametrize(('values', 'options', 'said'), [
    (np.zeros((7, 6, 4), np.uint8), {}, r'1.nii.gz has 7x6x4 voxels, and its volume .*1_0000.nii.gz 7x6x5'),
    (np.zeros(SHAPE, np.uint8), {'shift': 1.0}, '1.nii.gz lies elsewhere than its volume'),
    (np.full(SHAPE, 0.5, np.float32), {}, 'holds 0.5..0.5, and the voxels of a mask are class numbers'),
    (np.full(SHAPE, -1, np.int16), {}, 'holds -1..-1'),
    (np.full(SHAPE, np.nan, np.float32), {}, 'holds nan..nan')])
def test_masks_that_do_not_fit_their_volume_are_refused_by_name(tmp_path, values, options, said):
  _broken(tmp_path, values, **options)
  with pytest.raises(ValueError, match=said):
    _load(tmp_path)


def test_what_is_no_volume_of_masks_is_refused(tmp_path):
  _pairs(tmp_path)
  (tmp_path / 'labelsTr' / '0.nii.gz').write_bytes(gzip.compress(bytes(40)))
  with pytest.raises(ValueError, match=r'0.nii.gz (cannot be read as NIfTI|is no mask)'):
    _load(tmp_path)
  (tmp_path / 'labelsTr' / '0.nii.gz').unlink()
  Image.fromarray(np.zeros((6, 7), np.uint8)).save(tmp_path / 'labelsTr' / '0.png')
  with pytest.raises(ValueError, match='of the format NIfTI and its mask .* of PNG'):
    _load(tmp_path)
  series = tmp_path / 'series'
  _nifti(series / 'images' / 'a.nii', np.zeros((*SHAPE, 2), np.uint8))
  _nifti(series / 'masks' / 'a.nii', np.zeros((*SHAPE, 2), np.uint8))
  _nifti(series / 'images' / 'b.nii', np.zeros(SHAPE, np.uint8))
  _nifti(series / 'masks' / 'b.nii', np.ones(SHAPE, np.uint8))
  both = [len(part) for pool in [_load(series)] for part in (pool.train, pool.test)]
  assert sorted(both) == [5, 10], 'slices of both times'
  _nifti(series / 'train' / 'images' / 'a.nii', np.zeros((*SHAPE, 2), np.uint8))
  _nifti(series / 'train' / 'masks' / 'a.nii', np.zeros((*SHAPE, 2), np.uint8))
  for kind in ('images', 'masks'):
    (series / 'test' / kind).mkdir(parents=True)
    (series / kind / 'b.nii').rename(series / 'test' / kind / 'b.nii')
    (series / kind / 'a.nii').unlink()
    (series / kind).rmdir()
  pool = _load(series, volume_depth=4)
  pool.test.take([0])
  with pytest.raises(ValueError, match='a.nii holds 2 volumes after each other'):
    pool.train.take([0])
  for number in range(3):
    (tmp_path / 'plain' / 'ab'[number % 2]).mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.zeros((6, 7), np.uint8)).save(tmp_path / 'plain' / 'ab'[number % 2] / f'{number}.png')
  with pytest.raises(ValueError, match='volume_depth=8 takes volumes with masks'):
    _load(tmp_path / 'plain', volume_depth=8)


@pytest.mark.parametrize('slice_axis', nifti.AXES)
@pytest.mark.parametrize(('axes', 'times'), [('RAS', ()), ('LPS', ()), ('ASL', ()), ('PIR', (3,)), ('SRA', (2, 2))])
def test_slices_go_back_into_a_volume_of_the_same_place(tmp_path, slice_axis, axes, times):
  values = RNG.integers(0, 9, (*SHAPE, *times)).astype(np.uint8)
  _nifti(tmp_path / 'a.nii', values, axes=axes)
  content = (tmp_path / 'a.nii').read_bytes()
  count, slices = nifti.values(content, slice_axis)
  again = nib.Nifti1Image.from_bytes(gzip.decompress(nifti.with_slices(
      content, np.stack([slices(number) for number in range(count)]), slice_axis)))
  before = nib.Nifti1Image.from_bytes(content)
  np.testing.assert_array_equal(again.get_fdata(), before.get_fdata())
  np.testing.assert_allclose(again.affine, before.affine)
  assert nifti.frame(io.BytesIO(content)).shape == (*SHAPE, *times) and nifti.series(io.BytesIO(content)) == max(
      1, int(np.prod(times)))


def test_settings_of_volumes_are_refused_where_they_mean_nothing():
  for fields, said in (({'volume_depth': 2}, 'volume_depth must be at least 4'),
                       ({'volume_depth': 8, 'image_channels': 1}, 'image_channels=1 has no effect'),
                       ({'volume_depth': 8, 'dataset': 'digits'}, 'volume_depth=8 has no effect with dataset=digits')):
    with pytest.raises(ValueError, match=said):
      configs.DataConfig(**{'dataset': 'folder', 'data_dir': 'x'} | fields)
  volumes = {'data': configs.DataConfig(dataset='folder', data_dir='x', volume_depth=8),
             'task': configs.TaskConfig(task='segmentation')}
  for model, given in (('unet_gn', None), ('keras_file', 'x.keras')):
    with pytest.raises(ValueError, match=f'volume_depth=8 has no effect with model={model}; it is read by model=unet3'):
      configs.ExperimentConfig(**volumes, model=configs.ModelConfig(model=model, initial_model=given))
  with pytest.raises(ValueError, match='volume_depth is missing: model=unet3d_gn needs it'):
    configs.ExperimentConfig(task=configs.TaskConfig(task='segmentation'), model=configs.ModelConfig(model='unet3d_gn'))
  assert configs.ExperimentConfig(**volumes, model=configs.ModelConfig(model='unet3d_gn')).data.volume_depth == 8


def test_a_file_is_decoded_once_and_its_headers_are_read_only_where_they_are_asked_for(tmp_path, monkeypatch):
  _pairs(tmp_path, count=2)
  volumes, slices = _load(tmp_path, volume_depth=5).train, _load(tmp_path).train
  asked, decoded = [], []
  read, contents = nifti.series, decode.contents
  monkeypatch.setattr(nifti, 'series', lambda file: asked.append(1) or read(file))
  monkeypatch.setattr(decode, 'contents', lambda *given: decoded.append(1) or contents(*given))
  assert len(slices.take([0, 1, 4, 0]).x) == 4 and (len(decoded), len(asked)) == (1, 0)
  x = volumes.take([0, 0]).x
  assert (len(decoded), len(asked)) == (2, 1)
  np.testing.assert_array_equal(x[0], x[1])


def test_nibabel_and_pydicom_are_not_loaded_with_what_reads_folders():
  code = ('import sys\nfrom tff_vision.data.sources import folders, mask_files\n'
          'print("nibabel" in sys.modules, "pydicom" in sys.modules)')
  done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
  assert done.stdout.split() == ['False', 'False']


def test_slices_of_volumes_are_standardized_alike_and_may_be_empty(tmp_path):
  """Each slice had a mean and a deviation of its own, so that volumes with an empty slice were refused."""
  for number in range(4):
    image, mask = _volume(number)
    image[:, :, 0] = 0
    _nifti(tmp_path / 'imagesTr' / f'{number}_0000.nii.gz', image)
    _nifti(tmp_path / 'labelsTr' / f'{number}.nii.gz', mask)
  found = build.build(configs.DataConfig(dataset='folder', data_dir=str(tmp_path), volume_depth=5, partition='iid',
                                         num_clients=2, test_fraction=0.5, preprocess='standardize'), seed=0)
  made = found.preprocessing
  assert len(made.mean) == len(made.std) == 5 and len(set(made.mean)) == len(set(made.std)) == 1
