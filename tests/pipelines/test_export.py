"""pipelines.export: every format against the run's own export, files against pixels, the card, and mistakes."""

import importlib.util
import json

import numpy as np
import pytest
import tensorflow as tf

from tff_vision.data import build
from tff_vision.data.sources import decode
from tff_vision.export import hub
from tff_vision.program import run_directory


@pytest.fixture(scope='module')
def exported(trained, run_pipeline, tmp_path_factory):
  """Folder of all formats, stored test images and the logits that training exported for them."""
  folder, _ = trained
  place = tmp_path_factory.mktemp('deployment') / 'served'
  done = run_pipeline('export', f'--run_dir={folder}', '--format=keras,saved_model,tflite,tflite_int8,hub',
                      f'--output_dir={place}', '--owner=Radiology | North', '--licence=CC-BY-4.0',
                      '--intended_use=# Research only;\n## not for diagnosis')
  assert done.code == 0, done.err
  config = run_directory.RunDirectory(folder).read_config()
  x = build.build(config.data, seed=config.program.seed).test.examples.x[:30]
  model = tf.keras.models.load_model(folder / 'export' / 'model.keras', compile=False)
  return place, x, model(x.astype(np.float32)).numpy(), done


def test_every_format_gives_the_runs_logits_in_batches_of_any_size(exported):
  place, x, logits, _ = exported
  pixels = x.astype(np.float32)
  served = tf.saved_model.load(str(place / 'saved_model' / '1')).signatures
  assert set(served) == {'serving_default', 'serving_bytes'}
  lite = tf.lite.Interpreter(str(place / 'tflite' / 'model.tflite')).get_signature_runner('serving_default')
  for count in (1, 7, 30):
    by_tensor = served['serving_default'](pixels=tf.constant(pixels[:count]))
    np.testing.assert_allclose(by_tensor['logits'], logits[:count], atol=1e-4)
    np.testing.assert_allclose(by_tensor['probabilities'], tf.nn.softmax(logits[:count]), atol=1e-5)
    np.testing.assert_allclose(lite(pixels=pixels[:count])['logits'], logits[:count], atol=1e-4)
  assert served['serving_default'](pixels=tf.zeros((0, *pixels.shape[1:])))['logits'].shape == (0, logits.shape[1])
  assert served['serving_bytes'](image_bytes=tf.constant([], tf.string))['probabilities'].shape == (0, logits.shape[1])
  again = tf.keras.models.load_model(place / 'keras' / 'model.keras', compile=False)
  np.testing.assert_allclose(again(pixels), logits, atol=1e-5)


def test_files_are_read_as_prediction_reads_them(exported, tmp_path):
  place, x, logits, _ = exported
  served = tf.saved_model.load(str(place / 'saved_model' / '1'))
  found = served.signatures['serving_bytes'](image_bytes=tf.stack([tf.io.encode_png(image) for image in x]))
  np.testing.assert_allclose(found['logits'], logits, atol=1e-4)
  rng = np.random.default_rng(3)
  for channels, suffix in ((1, 'jpg'), (3, 'jpg'), (2, 'png'), (4, 'png')):
    image = rng.integers(0, 256, (23, 31, channels)).astype(np.uint8)
    content = (tf.io.encode_jpeg if suffix == 'jpg' else tf.io.encode_png)(image)
    (tmp_path / f'{channels}.{suffix}').write_bytes(content.numpy())
    pixels = decode.read(tmp_path / f'{channels}.{suffix}', x.shape[1:]).astype(np.float32)
    by_file = served.signatures['serving_bytes'](image_bytes=content[tf.newaxis])['logits']
    by_pixels = served.signatures['serving_default'](pixels=tf.constant(pixels[np.newaxis]))['logits']
    np.testing.assert_allclose(by_file, by_pixels, atol=1e-4)


def test_the_card_repeats_the_run_and_says_what_is_not_promised(exported, trained):
  place, _, _, done = exported
  folder, _ = trained
  report = json.loads((folder / 'report.json').read_text())
  card = json.loads((place / 'model_card.json').read_text())
  assert card['evaluation'] == report['evaluation'] and card['privacy'] == {'mechanism': 'none'}
  assert [row['accuracy'] for row in card['clients']] == pytest.approx(report['per_client']['accuracies'])
  assert card['formats']['tflite']['max_logit_difference'] < 1e-3 and card['formats']['keras']['images'] == 100
  assert 0.9 <= card['formats']['tflite_int8']['same_class'] <= 1
  assert card['formats']['tflite_int8']['bytes'] < 0.4 * card['formats']['tflite']['bytes']
  text = (place / 'model_card.md').read_text()
  assert card['about'] == {'owner': 'Radiology | North', 'licence': 'CC-BY-4.0',
                           'intended_use': '# Research only;\n## not for diagnosis'}
  assert '| owner | Radiology \\| North |' in text and '\nResearch only; ## not for diagnosis\n' in text
  assert card['origin']['date'] == report['origin']['date'] and card['origin']['code_version'] in text
  assert [row['class'] for row in card['classes']] == [str(digit) for digit in range(10)]
  assert '| class | precision | recall | F1 | test images |' in text
  own = (folder / 'model_card.md').read_text()  # Of the run itself: nobody has said yet who owns it.
  assert '| owner | not stated |' in own and '## Files' not in own and '## Files' in text
  assert 'No differential privacy guarantee' in text and 'test images of digits' in text and 'test images' in done.out


def test_mistakes_are_named_and_leave_nothing(exported, trained, run_pipeline, tmp_path):
  place, *_ = exported
  folder, _ = trained
  for arguments, named in (([f'--run_dir={folder}', '--format=onnx'], 'onnx'),
                           ([f'--run_dir={tmp_path}'], str(tmp_path)), ([], 'run_dir'),
                           ([f'--run_dir={folder}', '--calibration_dir=x'], 'calibration_dir'),
                           ([f'--run_dir={folder}', f'--output_dir={place}'], str(place)),
                           ([f'--run_dir={folder}', '--format=tflite_int8', f'--calibration_dir={tmp_path}',
                             f'--output_dir={tmp_path / "none"}'], str(tmp_path))):
    done = run_pipeline('export', *arguments)
    assert done.code == 1 and named in done.err and len(done.err.strip().splitlines()) == 1, done.err
  assert not (tmp_path / 'none').exists() and not (folder / 'deployment').exists()


def test_a_folder_for_a_hub_holds_the_model_and_a_card_that_a_hub_reads(exported):
  place, x, logits, _ = exported
  assert sorted(path.name for path in (place / 'hub').iterdir()) == ['README.md', 'config.json', 'model.keras']
  model = tf.keras.models.load_model(place / 'hub' / 'model.keras', compile=False)
  np.testing.assert_allclose(model(x.astype(np.float32)), logits, atol=1e-5)
  assert json.loads((place / 'hub' / 'config.json').read_text()) == json.loads((place / 'model.json').read_text())
  _, head, body = (place / 'hub' / 'README.md').read_text().split('---\n', 2)
  assert body.strip() == (place / 'model_card.md').read_text().strip()
  fields = {name: json.loads(value) for name, _, value in (line.partition(': ') for line in head.splitlines())}
  card = json.loads((place / 'model_card.json').read_text())
  assert fields['license'] == 'cc-by-4.0' and fields['pipeline_tag'] == 'image-classification'
  assert fields['tags'] == ['federated-learning', 'tensorflow-federated'] and 'datasets' not in fields
  (result,) = fields['model-index'][0]['results']
  assert {one['type']: one['value'] for one in result['metrics']} == card['evaluation']


def test_the_header_for_a_hub_names_licence_and_privacy():
  card = {'about': {'licence': 'By contract, see us'}, 'privacy': {'mechanism': 'local_dp'}, 'evaluation': {'auc': 0.5},
          'data': {'name': 'films: "new"'}, 'name': 'a'}
  found = hub.header(card, {'task': 'anomaly'})
  assert found['license'] == 'other' and found['license_name'] == 'By contract, see us'
  assert 'differential-privacy' in found['tags'] and 'pipeline_tag' not in found
  assert 'license' not in hub.header(card | {'about': {}}, {'task': 'anomaly'})


def test_onnx_is_the_federated_state_where_it_is_installed_and_one_sentence_elsewhere(trained, run_pipeline, tmp_path):
  folder, _ = trained
  done = run_pipeline('export', f'--run_dir={folder}', '--format=onnx', f'--output_dir={tmp_path / "onnx"}')
  if any(importlib.util.find_spec(name) is None for name in ('tf2onnx', 'onnx', 'onnxruntime')):
    assert done.code == 1 and 'requirements-onnx.txt' in done.err and len(done.err.strip().splitlines()) == 1, done.err
    assert not list(tmp_path.iterdir())
    return
  import onnxruntime
  assert done.code == 0, done.err
  session = onnxruntime.InferenceSession(str(tmp_path / 'onnx' / 'onnx' / 'model.onnx'))
  config = run_directory.RunDirectory(folder).read_config()
  x = build.build(config.data, seed=config.program.seed).test.examples.x[:30].astype(np.float32)
  model = tf.keras.models.load_model(folder / 'export' / 'model.keras', compile=False)
  for count in (1, 30):
    logits, probabilities = session.run(['logits', 'probabilities'], {'pixels': x[:count]})
    np.testing.assert_allclose(logits, model(x[:count]), atol=1e-4)
    np.testing.assert_allclose(probabilities, tf.nn.softmax(logits), atol=1e-5)
