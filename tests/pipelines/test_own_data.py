"""A user's own files through the pipelines: moved, changed, scaled in their own way, and trained to no avail."""

import json
import os
import pathlib

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom import uid

from pipelines import flagfiles, launch
from tests.pipelines.conftest import ROOT, TINY
from tff_vision import configs
from tff_vision.export import exported
from tff_vision.program import run_directory


def _stripes(count, seed):
  """Bright columns and bright rows: [count, 12, 12] of 0 and 1, and which is which."""
  rng = np.random.default_rng(seed)
  y = np.arange(count) % 2
  x = np.zeros((count, 12, 12))
  for image, row in zip(x, y, strict=True):
    image[(slice(None), rng.integers(12)) if row else (rng.integers(12), slice(None))] = 1
  return np.clip(x - (rng.random(x.shape) < 0.05), 0, 1), y


@pytest.fixture(scope='module')
def signed(run_pipeline, tmp_path_factory):
  """A run on floats in -1..1, named by a relative path, in a folder below home: its folder and its data."""
  place = tmp_path_factory.mktemp('own')
  x, y = _stripes(240, 0)
  np.savez(place / 'data.npz', x=(2 * x - 1).astype(np.float32), y=y)
  home = os.environ.get('HOME')
  os.environ['HOME'] = str(place)
  try:
    done = run_pipeline('train', '--dataset=npz', f'--data_dir={os.path.relpath(place / "data.npz", ROOT)}',
                        '--num_clients=4', '--cohort_size=4', '--rounds=12', '--rounds_per_evaluation=12',
                        '--client_learning_rate=0.1', '--run_dir=~/run', '--json=~/numbers.json')
  finally:
    os.environ['HOME'] = home
  assert done.code == 0, done.err
  return place / 'run', place / 'data.npz', done


def test_home_is_put_in_and_paths_of_data_are_absolute(signed):
  folder, data, done = signed
  assert folder.is_dir() and (folder.parent / 'numbers.json').is_file() and not pathlib.Path('~').exists()
  assert json.loads((folder / 'config.json').read_text())['data']['data_dir'] == str(data)
  assert '-1 counts as black and 1 as white' in done.out


def test_files_are_predicted_in_the_range_of_the_training_arrays(signed, tmp_path):
  model = exported.ExportedModel(run_directory.RunDirectory(signed[0]))
  x, y = _stripes(40, 9)
  paths = [tmp_path / f'{i}.png' for i in range(40)]
  for path, image in zip(paths, x, strict=True):
    Image.fromarray((255 * image).astype(np.uint8)).save(path)
  right = np.mean([model.predict_file(path).argmax() == label for path, label in zip(paths, y, strict=True)])
  trained = json.loads((signed[0] / 'report.json').read_text())['evaluation']['accuracy']
  assert trained >= 0.9 and right >= trained - 0.1


def test_moved_data_are_named_again_and_other_data_are_refused(signed, run_pipeline, tmp_path):
  folder, data, _ = signed
  directory = run_directory.RunDirectory(folder)
  text = directory.data_fingerprint.read_text()
  assert directory.data_fingerprint.stat().st_mode & 0o077 == 0 and 'test set' in text
  moved = tmp_path / 'moved.npz'
  moved.write_bytes(data.read_bytes())
  done = run_pipeline('evaluate', f'--run_dir={folder}', f'--data_dir={moved}', f'--json={tmp_path / "e.json"}')
  assert done.code == 0, done.err
  report = json.loads((folder / 'report.json').read_text())
  assert json.loads((tmp_path / 'e.json').read_text())['evaluation']['accuracy'] == report['evaluation']['accuracy']
  x, y = _stripes(240, 1)
  np.savez(moved, x=(2 * x - 1).astype(np.float32), y=y)
  done = run_pipeline('train', '--resume', f'--run_dir={folder}', f'--data_dir={moved}')
  assert done.code == 1 and 'the data are not those' in done.err and 'files' in done.err, done.err
  assert len(done.err.strip().splitlines()) == 1
  assert json.loads((folder / 'config.json').read_text())['data']['data_dir'] == str(data)


def test_a_run_whose_clients_all_diverge_says_so(run_pipeline, tmp_path):
  done = run_pipeline('train', *TINY, '--client_learning_rate=1e25', f'--run_dir={tmp_path / "run"}')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert any('rounds, from round' in said and 'client_learning_rate' in said for said in report['warnings'])
  assert 'warning: round' in done.err and 'warning: in ' in done.out
  assert 'their updates counted as zero' in (tmp_path / 'run' / 'report.html').read_text()


def test_flag_files_of_any_editor(tmp_path):
  lines = ['# a comment', '', '--rounds=3', '--run_dir=/x y', '// another', '--noresume']
  for encoding in ('utf-8', 'utf-8-sig', 'utf-16'):
    for end in ('\n', '\r\n'):
      (tmp_path / 'a.flags').write_bytes(end.join(lines).encode(encoding))
      (tmp_path / 'b.flags').write_text(f'--seed=1\n--flagfile={tmp_path / "a.flags"}\n--seed=2')
      for given in ([f'--flagfile={tmp_path / "b.flags"}'], ['--flagfile', str(tmp_path / 'b.flags')]):
        assert flagfiles.expanded([*given, '--json=j']) == [
            '--seed=1', '--rounds=3', '--run_dir=/x y', '--noresume', '--seed=2', '--json=j']
  (tmp_path / 'a.flags').write_bytes('--rounds=3\n--run_dir=Z\u00fcrich'.encode('latin-1'))
  with pytest.raises(ValueError, match='a.flags line 2 is no UTF-8'):
    flagfiles.expanded([f'--flagfile={tmp_path / "a.flags"}'])
  (tmp_path / 'c.flags').write_text(f'--flagfile={tmp_path / "c.flags"}')
  with pytest.raises(ValueError, match='names itself'):
    flagfiles.expanded([f'--flagfile={tmp_path / "c.flags"}'])


def test_a_full_disk_is_known_from_any_library():
  class Other(Exception):
    pass
  try:
    try:
      raise OSError(28, 'No space left on device')
    except OSError as error:
      raise Other('checkpoint failed') from error
  except Other as error:
    assert launch._disk_is_full(error)
  assert launch._disk_is_full(Other('RESOURCE_EXHAUSTED: /x; No space left on device'))
  assert not launch._disk_is_full(Other('something else')) and not launch._disk_is_full(OSError(13, 'denied'))


def test_defaults_fit_image_folders_and_leave_all_else():
  own = configs.ExperimentConfig(data=configs.DataConfig(dataset='folder', data_dir='/x'))
  fitted = configs.fitting(own, {'dataset', 'data_dir'})
  assert (fitted.model.model, fitted.data.preprocess, fitted.client.client_learning_rate) == (
      'cnn_gn', 'standardize', 0.05)
  assert configs.fitting(own, {'model'}) == own
  assert configs.fitting(own, {'preprocess', 'client_learning_rate'}).client == own.client
  private = configs.ExperimentConfig(
      data=own.data, cohort=configs.CohortConfig(sampling='poisson'),
      privacy=configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1.0, noise_multiplier=1.0))
  assert configs.fitting(private, set()).data == own.data, 'no moments of private images by default'
  for dataset in ('digits', 'fashion_mnist', 'npz'):
    other = configs.ExperimentConfig(data=configs.DataConfig(dataset=dataset))
    assert configs.fitting(other, set()) == other


@pytest.mark.ci
def test_dicom_files_of_patients_through_training_prediction_and_shards(run_pipeline, tmp_path):
  """Each patient is a client; no file of the run and no record of a worker holds a patient's name or number."""
  x, y = _stripes(60, 3)
  for number, (image, label) in enumerate(zip(x, y, strict=True)):
    _write_dicom(tmp_path / 'films' / ('column' if label else 'row') / f'{number}.dcm', (image * 900).astype(np.uint16),
                 PatientID=f'Miller{number // 4}', PatientName='Miller^Anna', WindowCenter='450', WindowWidth='900')
  data = ('--dataset=folder', f'--data_dir={tmp_path / "films"}', '--partition=natural', '--client_by=patient')
  done = run_pipeline('train', *data, '--cohort_size=4', '--rounds=2', '--rounds_per_evaluation=2',
                      f'--run_dir={tmp_path / "run"}')
  assert done.code == 0 and 'patients, numbered in the order of their files' in done.out, done.err
  _write_dicom(tmp_path / 'series.dcm', (x[:3] * 900).astype(np.uint16), WindowCenter='450', WindowWidth='900')
  told = run_pipeline('predict', f'--run_dir={tmp_path / "run"}', tmp_path / 'series.dcm',
                      tmp_path / 'films' / 'row' / '0.dcm', f'--json={tmp_path / "told.json"}')
  assert told.code == 0, told.err
  answers = json.loads((tmp_path / 'told.json').read_text())['predictions']
  series = [answers[f'{tmp_path / "series.dcm"}[{frame}]'] for frame in range(3)]
  assert len(answers) == 4 and series[0] == pytest.approx(answers[str(tmp_path / 'films' / 'row' / '0.dcm')], abs=1e-5)
  assert run_pipeline('shard', *data, f'--out={tmp_path / "shards"}').code == 0
  for path in (path for folder in ('run', 'shards') for path in (tmp_path / folder).rglob('*') if path.is_file()):
    assert b'Miller' not in path.read_bytes(), path


def _write_dicom(path, values, **elements):
  path.parent.mkdir(parents=True, exist_ok=True)
  dataset = pydicom.Dataset()
  dataset.file_meta = pydicom.dataset.FileMetaDataset()
  dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
  dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = uid.SecondaryCaptureImageStorage
  dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = uid.generate_uid()
  dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = 1, 'MONOCHROME2', 0
  dataset.NumberOfFrames = len(values) if values.ndim == 3 else 1
  dataset.Rows, dataset.Columns = values.shape[-2:]
  dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 16, 15
  for keyword, value in elements.items():
    setattr(dataset, keyword, value)
  dataset.PixelData = values.tobytes()
  dataset.save_as(path, enforce_file_format=True)
