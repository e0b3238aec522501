"""Keras files as people have them: scaled inside, softmax as an operation, constraints, noise, Keras 3, own layers."""

import json
import zipfile

import h5py
import numpy as np
import pytest
import tensorflow as tf

from tests import built
from tff_vision import configs
from tff_vision.configs import model_config
from tff_vision.data import build
from tff_vision.models import check, keras_files, pretrained, replayable

L = tf.keras.layers
SHAPE = (8, 8, 1)


def _model(*layers, classes=10, last=None, shape=SHAPE):
  images = L.Input(shape)
  x = images
  for layer in layers:
    x = layer(x)
  x = L.Dense(classes, name='top')(L.Flatten()(x))
  return tf.keras.Model(images, x if last is None else last(x))


@pytest.fixture
def saved(tmp_path):
  def save(model, name='model.keras'):
    model.save(tmp_path / name)
    return str(tmp_path / name)
  return save


def load(path, **options):
  return pretrained.load(path, **{'frozen_layers': '', 'input_shape': SHAPE, 'num_outputs': 10} | options)


def _images(count=3):
  return np.random.default_rng(1).random((count, *SHAPE), np.float32)


def _logits(given):
  made = given.build(SHAPE, 10)
  given.start(made)
  return made(_images())


@pytest.mark.parametrize(('operation', 'undone'), [(tf.nn.softmax, tf.nn.softmax), (tf.sigmoid, tf.sigmoid),
                                                   (tf.keras.activations.softmax, tf.nn.softmax)])
def test_an_activation_that_is_an_operation_is_taken_off_and_said(saved, operation, undone):
  model = _model(last=operation)
  given = load(saved(model))
  np.testing.assert_allclose(undone(_logits(given)), model(_images()), rtol=1e-4)
  assert any('taken off' in note for note in given.notes)


def test_probabilities_that_cannot_be_undone_are_refused(saved):
  hidden = tf.keras.Sequential([L.Input((10,)), L.Softmax()])
  for last, said in ((hidden, 'sum to one'), (lambda x: tf.sigmoid(x) ** 2, 'lie in 0..1'),
                     (lambda x: tf.nn.softmax(x) + 0.0, 'sum to one')):
    with pytest.raises(ValueError, match=f'returns probabilities: for any image its outputs .*{said}'):
      load(saved(_model(last=last)))
  # Neither logits that are all zero nor large ones are probabilities.
  zero = _model()
  zero.set_weights([0 * weight for weight in zero.get_weights()])
  for model in (zero, _model(L.Conv2D(2, 3, activation='relu'))):
    load(saved(model))


def test_a_constraint_is_refused_by_name_unless_frozen():
  for layer in (L.Conv2D(2, 3, name='held', kernel_constraint='max_norm'),
                L.Conv2D(2, 3, name='held', bias_constraint=tf.keras.constraints.NonNeg())):
    model = _model(layer)
    with pytest.raises(ValueError, match="held.*has a constraint .(MaxNorm|NonNeg)., .*mean of clients"):
      check.check(model, input_shape=SHAPE, output_shape=(10,))
    model.get_layer('held').trainable = False
    check.check(model, input_shape=SHAPE, output_shape=(10,))


@pytest.mark.parametrize('layer', [L.Dropout(0.5), L.GaussianNoise(1.0), L.GaussianDropout(0.4),
                                   L.SpatialDropout2D(0.5)])
def test_noise_layers_repeat_for_the_same_input_and_keep_the_mean(layer):
  model = replayable.with_replayable_dropout(
      lambda: tf.keras.Sequential([L.Input((20, 20, 30)), type(layer).from_config(layer.get_config())]))
  x = 1 + tf.random.stateless_uniform((8, 20, 20, 30), (1, 2))
  one, again, other = model(x, training=True), model(x, training=True), model(x + 0.1, training=True)
  np.testing.assert_array_equal(one, again)
  assert np.abs(one - x).mean() > 0.1 and np.abs((one - x) - (other - x - 0.1)).mean() > 0.1
  np.testing.assert_allclose(np.mean(one), np.mean(x), rtol=0.15)
  np.testing.assert_array_equal(model(x, training=False), x)
  if isinstance(layer, L.SpatialDropout2D):
    kept = np.asarray(one) != 0
    assert (kept.all(axis=(1, 2)) | ~kept.any(axis=(1, 2))).all(), 'whole channels'


def _task(path, **data):
  return built.task(configs.ExperimentConfig(
      data=configs.DataConfig(num_clients=2, **data),
      model=model_config.ModelConfig(model='keras_file', initial_model=path)))


def test_layers_that_cannot_be_repeated_are_said(saved):
  notes = ' '.join(_task(saved(_model(L.RandomTranslation(0.1, 0.1, name='shift'), L.GaussianNoise(0.1)))).notes)
  assert 'cannot be repeated: shift.' in notes


def test_pixels_are_scaled_once(saved):
  inside = tf.keras.Sequential([L.Input(SHAPE), L.Rescaling(1 / 255, name='inside')])
  for model in (_model(L.Rescaling(1 / 255, name='inside')), _model(inside), _model(lambda x: x / 255.0)):
    path = saved(model)
    notes = ' '.join(_task(path).notes)
    assert ('inside scales' in notes or 'truediv scales' in notes) and 'preprocess=none' in notes
    task = _task(path, preprocess='none')
    assert not any('scales' in note for note in task.notes)
    x, _ = task.batch_reader.open(task.client_dataset(0, 1)).one_epoch()
    assert x.dtype == tf.float32 and float(tf.reduce_max(x)) == 255
  assert not any('scales' in note for note in _task(saved(_model())).notes)


def test_one_class_is_refused(tmp_path):
  np.savez(tmp_path / 'one.npz', x=np.full((9, 8, 8), 200, np.uint8), y=np.array(['cat'] * 9))
  with pytest.raises(ValueError, match='has one class only, cat: classification needs two'):
    built.task(configs.ExperimentConfig(data=configs.DataConfig(
        dataset='npz', data_dir=str(tmp_path / 'one.npz'), num_clients=2)))
  assert build.build(configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'one.npz'), num_clients=2), seed=0)


def test_mixed_precision_becomes_float32(saved):
  tf.keras.mixed_precision.set_global_policy('mixed_float16')
  try:
    model = _model(L.Conv2D(4, 3, name='conv'), L.GroupNormalization(2))
  finally:
    tf.keras.mixed_precision.set_global_policy('float32')
  given = load(saved(model))
  made = given.build(SHAPE, 10)
  assert {layer.compute_dtype for layer in made.layers} == {'float32'}
  assert any('16 bits' in note for note in given.notes)
  np.testing.assert_allclose(_logits(given), model(_images()), atol=0.05)


def test_a_file_of_keras_3_is_named_with_the_mend(tmp_path):
  with zipfile.ZipFile(tmp_path / 'three.keras', 'w') as archive:
    archive.writestr('metadata.json', json.dumps({'keras_version': '3.5.0'}))
    archive.writestr('config.json', json.dumps({'class_name': 'Functional', 'config': {'name': 'x' * 5000}}))
  with h5py.File(tmp_path / 'three.h5', 'w') as file:
    file.attrs['keras_version'] = '3.1.1'
  for name in ('three.keras', 'three.h5'):
    with pytest.raises(ValueError, match=f'{name} was saved by Keras 3.*tf_keras') as error:
      keras_files.read(str(tmp_path / name))
    assert len(str(error.value)) < 400 and '\n' not in str(error.value)
  with zipfile.ZipFile(tmp_path / 'broken.keras', 'w') as archive:
    archive.writestr('metadata.json', json.dumps({'keras_version': '2.14.0'}))
    archive.writestr('config.json', json.dumps({'class_name': 'Nothing', 'config': {'name': 'x' * 5000}}))
  with pytest.raises(ValueError, match='broken.keras') as error:
    keras_files.read(str(tmp_path / 'broken.keras'))
  assert len(str(error.value)) < 400


OWN = '''
import tensorflow as tf

class Twice(tf.keras.layers.Layer):
  def call(self, x):
    return 2 * x
'''


@pytest.mark.parametrize('name', ['own.keras', 'own.h5'])
def test_layers_of_ones_own_come_from_their_file(tmp_path, name):
  class Twice(L.Layer):
    def call(self, x):
      return 2 * x

  model = _model(Twice())
  model.save(tmp_path / name)
  path = str(tmp_path / name)
  (tmp_path / 'own_layers.py').write_text(OWN)
  with pytest.raises(ValueError, match='a layer of the class Twice, .*import=FILE.py') as error:
    keras_files.read(path)
  assert len(str(error.value)) < 300
  try:
    given = load(path, layers_from=str(tmp_path / 'own_layers.py'))
    np.testing.assert_allclose(_logits(given), model(_images()), rtol=1e-5)
  finally:
    tf.keras.utils.get_custom_objects().pop('Twice', None)
  for source, said in ((tmp_path / 'none.py', 'no such file'), (tmp_path / 'bad.py', 'SyntaxError')):
    (tmp_path / 'bad.py').write_text('def (')
    with pytest.raises(ValueError, match=f'import=.*{source.name} fails: .*{said}'):
      load(path, layers_from=str(source))
