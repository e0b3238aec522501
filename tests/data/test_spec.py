"""What images are is said by their spec and not by a test set, which may be empty."""

import dataclasses
import json

import numpy as np
import pytest

import tff_vision as tv
from tests import tiny
from tff_vision.data import images


def test_a_spec_says_what_examples_are_and_refuses_others():
  for examples in (images.Examples(np.zeros((2, 4, 3, 1), np.uint8), np.zeros(2, np.int32)),
                   images.Examples(np.zeros((2, 4, 3, 1), np.float32), np.zeros((2, 2), np.float32))):
    spec = images.ImageSpec.of(examples, ['a', 'b'])
    assert (spec.shape, spec.dtype, spec.label_shape, spec.label_dtype) == (
        examples.x.shape[1:], examples.x.dtype, examples.y.shape[1:], examples.y.dtype)
    nothing = spec.no_examples()
    assert len(nothing) == 0 and not spec.difference(nothing) and not spec.difference(examples)
    assert spec.stored.white == (255 if examples.x.dtype == np.uint8 else 1)
    drawn = spec.drawn(50)
    assert drawn.dtype == spec.dtype and drawn.shape == (50, 4, 3, 1)
    white = spec.stored.white
    assert 0 <= drawn.min() < 0.1 * white and 0.9 * white < drawn.max() <= white
    np.testing.assert_array_equal(drawn, spec.drawn(50))
  grey = images.ImageSpec(shape=(4, 3, 1), dtype=np.uint8, class_names=['a', 'b'])
  assert 'shape [4, 4, 1], and not [4, 3, 1]' in grey.difference(
      images.Examples(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, np.int32)))
  assert 'float32, and not uint8' in grey.difference(
      images.Examples(np.zeros((1, 4, 3, 1), np.float32), np.zeros(1, np.int32)))
  assert 'labels' in grey.difference(images.Examples(np.zeros((1, 4, 3, 1), np.uint8), np.zeros((1, 2), np.float32)))
  for wrong in ({'shape': (4, 3)}, {'shape': (4, 0, 1)}, {'dtype': np.float64}):
    with pytest.raises(ValueError, match='shape|pixels'):
      images.ImageSpec(**({'shape': (4, 3, 1), 'dtype': np.uint8, 'class_names': ['a']} | wrong))


def test_images_without_a_spec_have_that_of_their_examples():
  made = tiny.federated_images()
  assert made.spec == images.ImageSpec(shape=(4, 4, 1), dtype=np.uint8, class_names=tiny.CLASSES)
  nobody = dataclasses.replace(made, test=None)
  assert nobody.spec == made.spec and len(nobody.test.examples) == 0 and len(nobody.test.clients) == 4
  from_clients = images.FederatedImages(name='x', train=made.train, class_names=tiny.CLASSES)
  assert from_clients.spec == made.spec
  with pytest.raises(ValueError, match='tiny: class_names'):
    dataclasses.replace(made, class_names=('a', 'b', 'c'))
  with pytest.raises(ValueError, match=r'tiny: the test images have the shape \[4, 4, 1\], and not \[5, 4, 1\]'):
    dataclasses.replace(made, spec=dataclasses.replace(made.spec, shape=(5, 4, 1)))


def test_a_site_without_test_images_trains_exports_and_reports(tmp_path):
  with_test = tiny.federated_images()
  task = lambda data: tv.Task(data, model='linear')
  parts = {'participation': tv.Fixed(3), 'client': tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), 'rounds': 2,
           'rounds_per_evaluation': 1, 'seed': 4}
  run = tv.Experiment(task(dataclasses.replace(with_test, test=None)), **parts).run(tmp_path / 'run')
  other = tv.Experiment(task(with_test), **parts).run(tmp_path / 'other')
  for one, same in zip(run.model.get_weights(), other.model.get_weights(), strict=True):
    np.testing.assert_array_equal(one, same)
  report = json.loads((tmp_path / 'run' / 'report.json').read_text())
  assert report['evaluation'] == {} and report['dataset']['num_test_examples'] == 0
  assert report['per_client']['count'] == 0 and report['per_client']['without_examples'] == 4
  assert report['export_parity'] < 1e-3  # Of random pixels.
  assert all(record['evaluation'] == {} for record in report['history'])
  card = run.export('keras', 'saved_model', 'tflite')
  assert card['evaluation'] == {} and card['formats']['tflite']['images'] == 100
  with pytest.raises(ValueError, match='tiny has no test images.*calibration_dir'):
    run.export('tflite_int8', folder=tmp_path / 'int8')


def test_the_range_of_arrays_is_that_of_all_clients():
  rng = np.random.default_rng(0)
  y = np.arange(6) % 3
  dark, bright = rng.integers(0, 2, (6, 5, 5)).astype(np.uint8), rng.integers(0, 256, (6, 5, 5)).astype(np.uint8)
  made = tv.data.from_arrays({'a': (bright, y), 'b': (dark, y)}, test={'b': (dark, y)})
  np.testing.assert_array_equal(made.train.examples(1).x[..., 0], dark)
  np.testing.assert_array_equal(made.test.examples.x[..., 0], dark)
  assert (made.stored_pixels.black, made.stored_pixels.white) == (0, 255)
  signed = bright / 127.5 - 1
  made = tv.data.from_arrays({'a': (signed, y), 'b': (np.abs(signed), y)}, test=None)
  assert (made.stored_pixels.black, made.stored_pixels.white) == (-1, 1)
  assert 'when the model is given image files; pixel_range=' in made.notes[0]
  assert 'Client b holds floats in 0.003922..0.9922, and client a floats in -0.9765' in made.notes[1]
  made = tv.data.from_arrays({'a': (3 * signed, y)}, test=None)  # No value is known to be black: files are refused.
  assert made.stored_pixels.black is None
  with pytest.raises(ValueError, match='client b has images .* of float64, client a .* of uint8'):
    tv.data.from_arrays({'a': (bright, y), 'b': (signed, y)}, test=None)
  with pytest.raises(ValueError, match='client b: x holds floats up to 299'):
    tv.data.from_arrays({'a': (signed, y), 'b': (signed + 299, y)}, test=None)


def test_arrays_may_come_without_a_test_set_and_then_tell_their_clients_classes():
  x, y = np.zeros((6, 5, 5), np.uint8), np.arange(6) % 3
  made = tv.data.from_arrays({'a': (x, y), 'b': (x[:2], y[:2])}, test=None)
  assert made.spec.shape == (5, 5, 1) and len(made.test.examples) == 0 and made.told_by_clients == ['0', '1', '2']
  assert not tv.data.from_arrays({'a': (x, y)}, test=None, class_names=['p', 'q', 'r']).told_by_clients
