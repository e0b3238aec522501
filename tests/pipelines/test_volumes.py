"""Volumes through the real scripts: training on workers behind masks, evaluation, a predicted volume, export."""

import json

import nibabel as nib
import numpy as np
import pytest

from tff_vision.export import exported
from tff_vision.program import run_directory

SIDE, DEPTH = 12, 10


def _volume(rng):
  """Returns a noisy volume and its mask, a bright ball."""
  centre = rng.integers(3, 7, 3)
  places = np.stack(np.indices((SIDE, SIDE, DEPTH)), -1)
  mask = (np.linalg.norm(places - centre, axis=-1) < 3.2).astype(np.uint8)
  return (rng.normal(100, 15, mask.shape) + 120 * mask).astype(np.int16), mask


def _save(path, values):
  path.parent.mkdir(parents=True, exist_ok=True)
  nib.save(nib.Nifti1Image(values, np.diag([-1.0, -1.0, 2.0, 1.0])), path)


@pytest.fixture(scope='module')
def balls(tmp_path_factory):
  """Two clients with six volumes each to train on, and two to be tested on."""
  root, rng = tmp_path_factory.mktemp('balls'), np.random.default_rng(0)
  for split, number in (('train', 6), ('test', 2)):
    for client in 'ab':
      for place in range(number):
        for name, values in zip(('images', 'masks'), _volume(rng), strict=True):
          _save(root / split / client / name / f'{place}.nii.gz', values)
  return root


def _flags(root, *more):
  return ('--dataset=folder', f'--data_dir={root}', '--task=segmentation', '--partition=natural', '--cohort_size=2',
          '--sampling=fixed', '--client_optimizer=adam', '--client_learning_rate=0.01', '--client_epochs=4',
          '--image_size=16', *more)


@pytest.mark.ci
def test_volumes_are_learned_behind_masks_predicted_and_exported(balls, run_pipeline, tmp_path):
  run_dir = tmp_path / 'run'
  done = run_pipeline('train', *_flags(balls, '--model=unet3d_gn', '--volume_depth=8', '--batch_size=2', '--flip'),
                      '--augment_rotation=10', '--rounds=8', '--rounds_per_evaluation=8', '--secure_sum=masks',
                      '--runtime=workers', '--local_workers=2', '--secure_range=8', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert report['dataset']['image_shape'] == [16, 16, 8] and report['evaluation']['dice'] > 0.7
  done = run_pipeline('evaluate', f'--run_dir={run_dir}', f'--json={tmp_path / "again.json"}')
  assert done.code == 0, done.err
  again = json.loads((tmp_path / 'again.json').read_text())['evaluation']
  assert again['dice'] == pytest.approx(report['evaluation']['dice'], abs=1e-3)
  volume = balls / 'test' / 'a' / 'images' / '1.nii.gz'
  done = run_pipeline('predict', f'--run_dir={run_dir}', volume, f'--masks_dir={tmp_path}',
                      f'--json={tmp_path / "p.json"}')
  assert done.code == 0, done.err
  found = json.loads((tmp_path / 'p.json').read_text())['predictions'][str(volume)]
  mask, truth = nib.load(found['mask']), nib.load(balls / 'test' / 'a' / 'masks' / '1.nii.gz')
  assert found['mask'].endswith('1_mask.nii.gz') and np.array_equal(mask.affine, truth.affine)
  predicted, true = np.asarray(mask.dataobj), np.asarray(truth.dataobj)
  assert 2 * (predicted * true).sum() / (predicted.sum() + true.sum()) > 0.6
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=keras,saved_model,tflite,tflite_int8')
  assert done.code == 0, done.err
  card = json.loads((run_dir / 'deployment' / 'model_card.json').read_text())
  assert card['formats']['tflite']['same_class'] > 0.999 and card['formats']['saved_model']['signatures'] == [
      'serving_default']
  model = exported.ExportedModel(run_directory.RunDirectory(run_dir))
  assert np.array_equal(model.outputs(volume), *model.all_outputs(volume).values())


@pytest.mark.ci
def test_slices_of_volumes_are_learned_and_come_back_as_a_volume(balls, run_pipeline, tmp_path):
  run_dir = tmp_path / 'run'
  done = run_pipeline('train', *_flags(balls, '--batch_size=8'), '--rounds=2', '--rounds_per_evaluation=2',
                      '--slice_axis=coronal', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert report['dataset']['num_test_examples'] == 4 * SIDE
  assert 'image, mask, prediction' in (run_dir / 'report.html').read_text()
  volume = balls / 'test' / 'b' / 'images' / '0.nii.gz'
  done = run_pipeline('predict', f'--run_dir={run_dir}', volume, f'--json={tmp_path / "p.json"}')
  assert done.code == 0, done.err
  found = json.loads((tmp_path / 'p.json').read_text())['predictions'][str(volume)]
  mask, truth = nib.load(found['mask']), nib.load(balls / 'test' / 'b' / 'masks' / '0.nii.gz')
  predicted, true = np.asarray(mask.dataobj), np.asarray(truth.dataobj)
  assert predicted.shape == true.shape and found['shares']['1'] == pytest.approx(predicted.mean())
  assert 2 * (predicted * true).sum() / (predicted.sum() + true.sum()) > 0.3
