"""Detection through the real scripts, on a small folder of images with COCO annotations."""

import json

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tests.documents import report_paths
from tff_vision.data.generators import road

SMALL = ('--dataset=coco', '--max_boxes=8', '--partition=natural', '--task=detection', '--model=centernet_gn',
         '--image_size=32', '--cohort_size=2', '--sampling=fixed', '--client_epochs=1', '--batch_size=4', '--rounds=2',
         '--rounds_per_evaluation=2')


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
  """Twelve road scenes of two cameras in a folder each, with boxes in pixels; one image has none."""
  root = tmp_path_factory.mktemp('coco')
  rng, boxes, images = np.random.default_rng(0), [], []
  for camera in ('sunny_highway', 'rainy_city'):
    (root / camera).mkdir()
    for number in range(6):
      pixels, scene = road.photograph(rng, road.CAMERAS[camera])
      name = f'{camera}/{number}.png'
      Image.fromarray(pixels).save(root / name)
      images.append({'id': len(images), 'file_name': name})
      if len(images) > 1:
        boxes += [{'id': len(boxes) + place, 'image_id': len(images) - 1, 'category_id': 1 + int(kind),
                   'bbox': [float(left), float(top), float(right - left), float(bottom - top)]}
                  for place, ((top, left, bottom, right), kind) in enumerate(
                      zip(scene.boxes, scene.kinds, strict=True))]
  (root / 'all.json').write_text(json.dumps({
      'images': images, 'annotations': boxes,
      'categories': [{'id': place, 'name': name} for place, name in enumerate(road.CLASSES, start=1)]}))
  return root


@pytest.fixture(scope='module')
def run(folder, run_pipeline, tmp_path_factory):
  run_dir = tmp_path_factory.mktemp('runs') / 'detected'
  done = run_pipeline('train', *SMALL, f'--data_dir={folder}', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  return run_dir, done


def test_a_detector_is_trained_reported_and_used(run, folder, run_pipeline, tmp_path):
  run_dir, done = run
  report = json.loads((run_dir / 'report.json').read_text())
  assert not report_paths.undocumented(report)
  assert report['task'] == {'name': 'detection', 'metric': 'map'} and report['dataset']['num_clients'] == 2
  assert {'map', 'map_50', 'loss', 'ap_by_class'} <= set(report['evaluation'])
  assert np.isfinite(report['evaluation']['loss'])
  assert [row['class'] for row in report['detection_by_class']] == list(road.CLASSES)
  assert [row['client'] for row in report['detection_by_client']] == ['rainy_city', 'sunny_highway']
  assert all(row['test_images'] for row in report['detection_by_client'])
  assert report['export_parity'] < 1e-3 and 'map' in done.out
  page = (run_dir / 'report.html').read_text()
  assert 'true boxes are white' in page and 'with the largest loss' in page and 'mAP 0.5' in page
  image = folder / 'sunny_highway' / '1.png'
  done = run_pipeline('predict', f'--run_dir={run_dir}', image, folder / 'rainy_city' / '1.png', '--least_score=0.01',
                      f'--boxes_dir={tmp_path / "drawn"}', f'--json={tmp_path / "found.json"}')
  assert done.code == 0, done.err
  found = json.loads((tmp_path / 'found.json').read_text())['predictions'][str(image)]['boxes']
  assert found and set(found[0]) == {'class', 'score', 'box'} and found[0]['class'] in road.CLASSES
  assert all(0 <= one['box'][0] <= one['box'][2] <= 64 and 0.01 <= one['score'] <= 1 for one in found)
  assert sorted(path.name for path in (tmp_path / 'drawn').iterdir()) == ['1_1_boxes.png', '1_2_boxes.png']
  assert np.asarray(Image.open(tmp_path / 'drawn' / '1_1_boxes.png')).shape == (64, 64, 3)


@pytest.mark.ci
def test_a_detector_is_exported_and_evaluated(run, folder, run_pipeline, tmp_path):
  run_dir, _ = run
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=keras,saved_model,tflite')
  assert done.code == 0, done.err
  card = json.loads((run_dir / 'deployment' / 'model_card.json').read_text())
  assert all(one['same_class'] == 1 for one in card['formats'].values())
  content = (folder / 'rainy_city' / '2.png').read_bytes()
  served = tf.saved_model.load(str(run_dir / 'deployment' / 'saved_model' / '1')).signatures['serving_bytes']
  found = served(image_bytes=tf.constant([content]))
  lite = tf.lite.Interpreter(str(run_dir / 'deployment' / 'tflite' / 'model.tflite')).get_signature_runner()
  pixels = tf.image.resize(tf.io.decode_png(content)[None], (32, 32), antialias=True).numpy()
  also = lite(pixels=np.clip(np.round(pixels), 0, 255).astype(np.float32))
  assert found['boxes'].shape == (1, 100, 4) and found['classes'].dtype == tf.int32
  np.testing.assert_allclose(also['scores'], found['scores'], atol=1e-4)
  np.testing.assert_allclose(also['boxes'][0, :5], found['boxes'][0, :5], atol=1e-3)
  done = run_pipeline('evaluate', f'--run_dir={run_dir}', f'--json={tmp_path / "again.json"}')
  assert done.code == 0, done.err
  again, report = (json.loads(path.read_text()) for path in (tmp_path / 'again.json', run_dir / 'report.json'))
  assert again['evaluation']['loss'] == pytest.approx(report['evaluation']['loss'], abs=1e-4)


@pytest.mark.ci
def test_files_of_more_than_8_bits_are_drawn_with_boxes_of_whole_images(run_pipeline, tmp_path):
  """Though the model sees their centre only. And each picture has its own file, whatever images are called."""
  entries = []
  for number in range(4):
    pixels = np.full((32, 32), 300, np.uint16)
    pixels[4:14, 4 + number:14 + number] = 3000  # As of a sensor of 12 bits.
    name = f'{"ab"[number % 2]}/{number // 2}.png'
    (tmp_path / name).parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(tmp_path / name)
    entries.append({'id': number, 'file_name': name})
  (tmp_path / 'all.json').write_text(json.dumps({
      'images': entries, 'categories': [{'id': 1, 'name': 'part'}], 'annotations': [
          {'id': number, 'image_id': number, 'category_id': 1, 'bbox': [4 + number, 4, 10, 10]}
          for number in range(4)]}))
  (tmp_path / '0_1.png').write_bytes((tmp_path / 'a' / '0.png').read_bytes())
  run_dir = tmp_path / 'run'
  done = run_pipeline('train', *SMALL, '--rounds=1', '--crop=16', f'--data_dir={tmp_path}', f'--run_dir={run_dir}')
  assert done.code == 0, done.err
  files = [tmp_path / 'a' / '0.png', tmp_path / 'b' / '0.png', tmp_path / '0_1.png']
  done = run_pipeline('predict', f'--run_dir={run_dir}', *files, f'--boxes_dir={tmp_path / "drawn"}',
                      '--least_score=0', f'--json={tmp_path / "found.json"}')
  assert done.code == 0, done.err
  drawn = sorted(path.name for path in (tmp_path / 'drawn').iterdir())
  assert drawn == ['0_1_boxes.png', '0_2_boxes.png', '0_3_boxes.png']
  assert np.asarray(Image.open(tmp_path / 'drawn' / '0_1_boxes.png')).max() > 200
  found = json.loads((tmp_path / 'found.json').read_text())['predictions'][str(files[0])]['boxes'][0]['box']
  assert 7 <= min(found) and max(found) <= 25, 'all that the model sees lies in 8..24'
  done = run_pipeline('export', f'--run_dir={run_dir}', '--format=saved_model')
  assert done.code == 0, done.err
  served = tf.saved_model.load(str(run_dir / 'deployment' / 'saved_model' / '1')).signatures['serving_bytes']
  top, left, bottom, right = served(image_bytes=tf.constant([files[0].read_bytes()]))['boxes'][0, 0].numpy() * 32
  np.testing.assert_allclose([left, top, right, bottom], found, atol=1e-3)


@pytest.mark.ci
def test_a_detector_is_trained_under_promises_on_two_executors(folder, run_pipeline, tmp_path):
  done = run_pipeline('train', *SMALL, '--rounds=1', f'--data_dir={folder}', f'--run_dir={tmp_path / "run"}',
                      '--privacy=example_dp_sgd', '--clip_norm=1', '--noise_multiplier=1', '--secure_sum=masks',
                      '--runtime=workers', '--local_workers=2')
  assert done.code == 0, done.err
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert np.isfinite(report['evaluation']['loss']) and report['privacy']['unit'] == 'example'
  assert set(report['detection_by_client'][0]) == {
      'client', 'map', 'map_50', *(f'{name}: map' for name in road.CLASSES)}, 'numbers of images under a promise'
  assert 'true boxes are white' not in (tmp_path / 'run' / 'report.html').read_text(), 'images under a promise'
