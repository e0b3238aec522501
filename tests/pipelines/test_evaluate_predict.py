"""pipelines.evaluate repeats the run's numbers; pipelines.predict on a file equals evaluation on its pixels."""

import json
import re

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.data import build
from tff_vision.program import run_directory


def test_evaluate_repeats_the_runs_numbers(trained, run_pipeline, tmp_path):
  folder, _ = trained
  done = run_pipeline('evaluate', f'--run_dir={folder}', f'--json={tmp_path / "numbers.json"}')
  assert done.code == 0, done.err
  report = json.loads((folder / 'report.json').read_text())
  found = json.loads((tmp_path / 'numbers.json').read_text())
  assert found['evaluation']['accuracy'] == report['evaluation']['accuracy']
  assert found['evaluation']['loss'] == pytest.approx(report['evaluation']['loss'], rel=1e-5)
  assert found['per_client'] == report['per_client'] and found['unseen'] is None
  assert f'accuracy {report["evaluation"]["accuracy"]:.4f}' in done.out


@pytest.fixture(scope='module')
def digit_files(trained, tmp_path_factory):
  """Ten test images as files, and the logits that the exported model gives for their pixels."""
  folder, _ = trained
  config = run_directory.RunDirectory(folder).read_config()
  x = build.build(config.data, seed=config.program.seed).test.examples.x[:10]
  place = tmp_path_factory.mktemp('digits')
  for i, image in enumerate(x):
    (place / f'{i}.png').write_bytes(tf.io.encode_png(image).numpy())
  model = tf.keras.models.load_model(folder / 'export' / 'model.keras', compile=False)
  return place, model(x.astype(np.float32)).numpy()


def test_predictions_on_files_equal_evaluation_on_their_pixels(trained, run_pipeline, digit_files, tmp_path):
  folder, _ = trained
  place, logits = digit_files
  files = [str(place / f'{i}.png') for i in range(10)]
  done = run_pipeline('predict', f'--run_dir={folder}', '--top=10', f'--json={tmp_path / "p.json"}', *files)
  assert done.code == 0, done.err
  found = json.loads((tmp_path / 'p.json').read_text())['predictions']
  expected = tf.nn.softmax(logits).numpy()
  np.testing.assert_allclose([list(found[file].values()) for file in files], expected, atol=1e-5)
  first = done.out.splitlines()[0]
  assert first.startswith(files[0] + ': ' + str(expected[0].argmax()) + ' ') and len(re.findall(r', ', first)) == 9


@pytest.mark.parametrize('flag', ['masks_dir=masks', 'boxes_dir=boxes', 'least_score=0.5'])
def test_a_flag_of_another_task_is_refused(trained, run_pipeline, digit_files, flag):
  done = run_pipeline('predict', f'--run_dir={trained[0]}', digit_files[0] / '0.png', f'--{flag}')
  assert done.code == 1 and f'{flag} has no effect with task=classification' in done.err and not done.out


def test_any_size_and_colour_is_taken_and_the_rest_is_named(trained, run_pipeline, tmp_path):
  folder, _ = trained
  colour = np.random.default_rng(0).integers(0, 256, (37, 50, 3)).astype(np.uint8)
  (tmp_path / 'photo.jpg').write_bytes(tf.io.encode_jpeg(colour).numpy())
  done = run_pipeline('predict', f'--run_dir={folder}', tmp_path / 'photo.jpg')
  assert done.code == 0 and 'photo.jpg: ' in done.out
  (tmp_path / 'broken.png').write_bytes(b'\x89PNG\r\n\x1a\n nothing more')
  for arguments, named in (([tmp_path / 'broken.png'], 'broken.png'), ([tmp_path / 'none.png'], 'none.png'),
                           ([], 'image')):
    done = run_pipeline('predict', f'--run_dir={folder}', *arguments)
    assert done.code == 1 and named in done.err and len(done.err.strip().splitlines()) == 1
  done = run_pipeline('predict', f'--run_dir={tmp_path}', tmp_path / 'photo.jpg')
  assert done.code == 1 and f"run_dir='{tmp_path}' holds no exported model" in done.err
