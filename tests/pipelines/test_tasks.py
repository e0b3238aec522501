"""Other tasks than classification and models from files, through the real scripts."""

import json

import numpy as np
import pytest
import tensorflow as tf

from tests.documents import report_paths
from tests.pipelines.conftest import TINY


@pytest.mark.ci
def test_an_anomaly_detector_is_trained_evaluated_and_used(run_pipeline, tmp_path):
  run_dir = tmp_path / 'parts'
  done = run_pipeline('train', *TINY, '--task=anomaly', '--normal_class=3', '--model=autoencoder',
                      f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert report['task'] == {'name': 'anomaly', 'metric': 'auc'} and 0 <= report['evaluation']['auc'] <= 1
  assert report['per_client']['metric'] == 'auc' and 'accuracy' not in report['evaluation']
  assert f'auc {report["evaluation"]["auc"]:.4f}' in done.out and 'auc per client' in done.out
  assert 'auc' in [line for line in done.err.splitlines() if line.startswith('round ')][-1]
  page = (run_dir / 'report.html').read_text()
  assert 'True positive rate' in page and 'Test AUC' in page and 'Test accuracy' not in page
  assert 'Missed defects' in page and page.count('alt="its reconstruction"') == page.count('alt="the error of') >= 8
  done = run_pipeline('evaluate', f'--run_dir={run_dir}', f'--json={tmp_path / "again.json"}')
  assert done.code == 0, done.err
  again = json.loads((tmp_path / 'again.json').read_text())
  np.testing.assert_allclose(again['evaluation']['auc'], report['evaluation']['auc'], atol=1e-4)
  for name, image in (('a.png', np.zeros((8, 8, 1))), ('b.png', 255 * (np.indices((8, 8)).sum(0) % 2)[..., None])):
    (tmp_path / name).write_bytes(tf.io.encode_png(image.astype(np.uint8)).numpy())
  done = run_pipeline('predict', f'--run_dir={run_dir}', tmp_path / 'a.png', tmp_path / 'b.png',
                      f'--json={tmp_path / "scores.json"}')
  assert done.code == 0 and done.out.count('of good test images') == 2, done.err
  predicted = json.loads((tmp_path / 'scores.json').read_text())['predictions']
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=saved_model,tflite_int8')
  assert done.code == 0, done.err
  served = tf.saved_model.load(str(run_dir / 'deployment' / 'saved_model' / '1')).signatures['serving_bytes']
  found = served(image_bytes=tf.constant([(tmp_path / name).read_bytes() for name in ('a.png', 'b.png')]))
  np.testing.assert_allclose(found['score'], [one['score'] for one in predicted.values()], rtol=1e-4)
  card = json.loads((run_dir / 'deployment' / 'model_card.json').read_text())
  assert card['formats']['saved_model']['same_class'] == 1 and card['evaluation'] == report['evaluation']


def test_embeddings_begin_with_an_exported_model_whose_first_layer_stays(trained, run_pipeline, tmp_path):
  folder, _ = trained
  run_dir, file = tmp_path / 'embedding', folder / 'export' / 'model.keras'
  inner = tf.keras.models.load_model(file, compile=False).layers[-1]
  first = next(layer for layer in inner.layers if layer.weights)
  done = run_pipeline('train', *TINY, '--task=embedding', '--embedding_size=5', '--model=keras_file',
                      f'--initial_model={file}', f'--frozen_layers={first.name}', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  assert 'note: Its last layer' in done.out and 'frozen' in done.out
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert {'auc', 'equal_error_rate'} <= set(report['evaluation']) and len(report['roc']['threshold']) > 5
  assert report['model']['trained_parameters'] < report['model']['parameters']
  exported = tf.keras.models.load_model(run_dir / 'export' / 'model.keras', compile=False).layers[-1]
  kept = next(layer for layer in exported.layers if layer.name == first.name)
  for a, b in zip(kept.get_weights(), first.get_weights(), strict=True):
    np.testing.assert_array_equal(a, b)
  paths = []
  for seed in range(2):
    paths.append(tmp_path / f'{seed}.png')
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8, 1)).astype(np.uint8)
    paths[-1].write_bytes(tf.io.encode_png(pixels).numpy())
  done = run_pipeline('predict', f'--run_dir={run_dir}', *paths, f'--json={tmp_path / "vectors.json"}')
  assert done.code == 0 and 'cosine' in done.out and 'threshold' in done.out, done.err
  predicted = json.loads((tmp_path / 'vectors.json').read_text())['predictions']
  done = run_pipeline('predict', f'--run_dir={run_dir}', paths[0])
  assert done.code == 1 and f'{paths[0]} is one' in done.err and not done.out
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=tflite')
  assert done.code == 0 and 'same decision 1.000' in done.out, done.err
  lite = tf.lite.Interpreter(str(run_dir / 'deployment' / 'tflite' / 'model.tflite')).get_signature_runner()
  pixels = np.stack([tf.io.decode_image(path.read_bytes()) for path in paths]).astype(np.float32)
  vectors = [one['embedding'] for one in predicted.values()]
  np.testing.assert_allclose(lite(pixels=pixels)['embedding'], vectors, atol=1e-4)


def test_a_batch_norm_is_converted_and_every_change_printed(run_pipeline, tmp_path):
  file, made = tmp_path / 'in.keras', tmp_path / 'out.keras'
  tf.keras.Sequential([tf.keras.layers.Input((8, 8, 1)), tf.keras.layers.Conv2D(16, 3),
                       tf.keras.layers.BatchNormalization(name='the_norm'), tf.keras.layers.Flatten(),
                       tf.keras.layers.Dense(10)]).save(file)
  done = run_pipeline('convert_model', f'--model={file}', f'--output={made}')
  assert done.code == 0, done.err
  assert 'the_norm: BatchNormalization of 16 channels -> GroupNormalization of 2 groups' in done.out
  assert 'trained again' in done.out and made.exists()
  for arguments, named in (([f'--model={file}', f'--output={made}'], 'is there already'),
                           ([f'--model={made}', f'--output={tmp_path / "x.keras"}'], 'nothing to convert'),
                           (['--output=x.keras'], 'model is missing')):
    done = run_pipeline('convert_model', *arguments)
    assert done.code == 1 and named in done.err and 'Traceback' not in done.err
