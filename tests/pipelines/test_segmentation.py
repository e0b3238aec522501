"""Segmentation through the real scripts: folders of masks, training, evaluation, prediction, export."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.documents import report_paths

SIDE = 16
COLOURS = {'ground': (0, 0, 0), 'disc': (200, 0, 0), 'bar': (0, 200, 0)}


def draw(rng):
  """Returns a noisy image, and the truth: a bright disc or a dark bar on grey, or neither."""
  mask = np.zeros((SIDE, SIDE), np.uint8)
  rows, columns = np.mgrid[:SIDE, :SIDE]
  kind = rng.integers(0, 4)
  if kind in (1, 3):
    mask[np.hypot(rows - rng.integers(4, 12), columns - rng.integers(4, 12)) < 3.5] = 1
  if kind in (2, 3):
    mask[:, rng.integers(2, 13):][:, :2] = 2
  grey = np.array([120, 220, 20])[mask] + rng.normal(0, 12, mask.shape)
  return np.clip(grey, 0, 255).astype(np.uint8), mask


@pytest.fixture(scope='module')
def shapes(tmp_path_factory):
  """Three clients with masks of one colour a class, and a list of the classes."""
  root = tmp_path_factory.mktemp('shapes')
  rng = np.random.default_rng(0)
  for client, number in (('a', 16), ('b', 12), ('c', 8)):
    for split, count in (('train', number), ('test', 4)):
      for place in range(count):
        for name in ('images', 'masks'):
          (root / split / client / name).mkdir(parents=True, exist_ok=True)
        image, mask = draw(rng)
        Image.fromarray(image).save(root / split / client / 'images' / f'{place}.png')
        Image.fromarray(np.array(list(COLOURS.values()), np.uint8)[mask]).save(
            root / split / client / 'masks' / f'{place}.png')
  (root / 'classes.txt').write_text('\n'.join(f'{name} #{bytes(colour).hex()}' for name, colour in COLOURS.items()))
  return root


@pytest.mark.ci
def test_masks_in_folders_are_learned_measured_shown_and_predicted(shapes, run_pipeline, tmp_path):
  run_dir = tmp_path / 'run'
  done = run_pipeline('train', '--task=segmentation', '--dataset=folder', f'--data_dir={shapes}', '--partition=natural',
                      '--client_optimizer=adam', '--client_learning_rate=0.01', '--client_epochs=3', '--batch_size=4',
                      '--sampling=fixed', '--cohort_size=3', '--rounds=5', '--rounds_per_evaluation=5', '--flip',
                      '--class_weights=1,2,2', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert report['model']['name'] == 'unet_gn_small' and report['dataset']['class_names'] == list(COLOURS)
  assert report['task'] == {'name': 'segmentation', 'metric': 'dice'}
  found = report['evaluation']
  assert found['dice'] == pytest.approx(np.mean(found['dice_by_class']))  # Class 0 is not called background.
  assert found['dice'] > 0.6, 'it learns'
  assert report['per_client']['metric'] == 'dice' and len(report['per_client']['accuracies']) == 3
  assert f'dice {found["dice"]:.4f}' in done.out and 'dice per client' in done.out
  page = (run_dir / 'report.html').read_text()
  assert 'Test Dice' in page and 'Test images where the model is worst' in page

  done = run_pipeline('evaluate', f'--run_dir={run_dir}', f'--json={tmp_path / "again.json"}')
  assert done.code == 0, done.err
  again = json.loads((tmp_path / 'again.json').read_text())['evaluation']
  np.testing.assert_allclose(again['dice_by_class'], found['dice_by_class'], atol=1e-3)

  rng = np.random.default_rng(5)
  image, truth = draw(rng)
  while len(np.unique(truth)) < 3:
    image, truth = draw(rng)
  large = tmp_path / 'large.png'  # Three times as high, twice as wide: the mask has its size.
  Image.fromarray(image.repeat(3, 0).repeat(2, 1)).save(large)
  done = run_pipeline('predict', f'--run_dir={run_dir}', large, f'--masks_dir={tmp_path / "out"}',
                      f'--json={tmp_path / "p.json"}')
  assert done.code == 0 and re.search(r'large.png: \w+ [\d.]+ %, .*large_mask.png', done.out), done.err
  predicted = json.loads((tmp_path / 'p.json').read_text())['predictions'][str(large)]
  mask = np.asarray(Image.open(predicted['mask']))
  assert mask.shape == (3 * SIDE, 2 * SIDE) and Image.open(predicted['mask']).mode == 'P'
  assert (mask == truth.repeat(3, 0).repeat(2, 1)).mean() > 0.85
  assert predicted['shares'] == pytest.approx({
      name: (mask == number).mean() for number, name in enumerate(COLOURS)})
  overlay = np.asarray(Image.open(predicted['overlay'])).astype(float)
  grey = image.repeat(3, 0).repeat(2, 1)[..., None]
  changed = (overlay != grey).any(-1)
  assert not changed[mask == 0].any() and changed[mask > 0].all()

  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=keras,saved_model,tflite,tflite_int8')
  assert done.code == 0, done.err
  card = json.loads((run_dir / 'deployment' / 'model_card.json').read_text())
  assert card['formats']['tflite']['same_class'] > 0.999 and card['formats']['tflite_int8']['same_class'] > 0.9
  assert card['formats']['saved_model']['max_logit_difference'] < 1e-2
  served = tf.saved_model.load(str(run_dir / 'deployment' / 'saved_model' / '1')).signatures['serving_bytes']
  small = tf.io.encode_png(image[..., None])
  classes = served(image_bytes=tf.stack([small]))['classes'].numpy()
  lite = tf.lite.Interpreter(str(run_dir / 'deployment' / 'tflite' / 'model.tflite')).get_signature_runner()
  assert (lite(pixels=image[None, ..., None].astype(np.float32))['classes'] == classes).mean() > 0.999
  assert classes.dtype == np.int32 and classes.shape == (1, SIDE, SIDE)

  done = run_pipeline('train', '--dataset=folder', f'--data_dir={shapes}', '--partition=natural', '--sampling=fixed',
                      '--cohort_size=3', '--rounds=1', f'--run_dir={tmp_path / "classes"}')
  assert done.code in (1, 2) and 'its labels are masks, which task=segmentation learns from' in done.err
  assert 'Traceback' not in done.err
