"""Files that Keras 3 wrote, in `keras3/`, with what Keras 3 answered: read with Keras 2, or refused by name.

Keras 3.5.0 wrote them. `functional` has branches, a merge, BatchNorm, GroupNorm, depthwise convolution and dropout;
`sequential` has layers whose options changed names, a transposed and a separable convolution; `nested` has a model in a
model.
"""

import io
import json
import pathlib
import zipfile

import h5py
import numpy as np
import pytest

from tff_vision.models import keras_files

FOLDER = pathlib.Path(__file__).parent / 'keras3'
NAMES = ('functional', 'sequential', 'nested')


@pytest.mark.parametrize('name', [f'{name}.{suffix}' for name in NAMES for suffix in ('keras', 'h5')])
def test_a_model_answers_as_it_did_in_keras_3(name):
  assert keras_files.saved_by(str(FOLDER / name)).startswith('3.')
  model = keras_files.read(str(FOLDER / name))
  with np.load(FOLDER / 'answers.npz') as told:
    x, y = (told[f'{name.partition(".")[0]}_{part}'] for part in 'xy')
  np.testing.assert_allclose(model(x, training=False), y, atol=1e-5, rtol=1e-4)
  again = type(model).from_config(model.get_config())  # It is a plain model of Keras 2 now.
  again.set_weights(model.get_weights())
  np.testing.assert_allclose(again(x, training=False), y, atol=1e-5, rtol=1e-4)


def _changed(tmp_path, change, *, weights=None):
  """Writes `sequential.keras` with a change to the descriptions of its layers, or to its weights."""
  with zipfile.ZipFile(FOLDER / 'sequential.keras') as old, zipfile.ZipFile(tmp_path / 'x.keras', 'w') as new:
    for name in old.namelist():
      content = old.read(name)
      if name == 'config.json':
        described = json.loads(content)
        change(described['config']['layers'])
        content = json.dumps(described)
      if name == 'model.weights.h5' and weights:
        file = io.BytesIO(content)
        with h5py.File(file, 'r+') as inside:
          weights(inside)
        content = file.getvalue()
      new.writestr(name, content)
  return str(tmp_path / 'x.keras')



@pytest.mark.parametrize(('change', 'said'), [
    (lambda layers: layers[1].update(class_name='Conv9D'), 'a layer of the class Conv9D, which Keras 2 does not have'),
    (lambda layers: layers[1].update(class_name='Own', module='mine', registered_name='mine>Own'),
     r'class Own, which is none of Keras.s own: import=FILE.py'),
    (lambda layers: layers[1].update(class_name='Sin', module='keras.src.ops.numpy'), r'uses keras.ops \(Sin\)'),
    (lambda layers: layers[1]['config'].update(lora_rank=4), 'has the option lora_rank=4, which Keras 2 does not have'),
    (lambda layers: layers[1].update(class_name='Lambda'), 'is a Lambda'),
    (lambda layers: layers[1]['config'].update(filters=5), r'has weights of the shapes .*, and Keras 2 makes'),
    (lambda layers: layers[1]['config'].update(kernel_size=[30, 30]), 'Keras 2 refuses it|Keras 2 makes'),
    (lambda layers: layers[1]['config'].update(dtype={'class_name': 'QuantizedDTypePolicy', 'config': {
        'name': 'int8_from_float32'}}), 'is quantised')])
def test_what_keras_2_does_not_have_is_named(tmp_path, change, said):
  with pytest.raises(ValueError, match=f'x.keras was saved by Keras 3.* cannot be read by Keras 2: .*{said}') as error:
    keras_files.read(_changed(tmp_path, change))
  assert 'tf_keras' in str(error.value) and '\n' not in str(error.value)


def test_weights_that_are_missing_are_not_random(tmp_path):
  with pytest.raises(ValueError, match='it has no weights for the layer'):
    keras_files.read(_changed(tmp_path, lambda layers: None, weights=lambda file: file['layers'].pop('dense')))


def test_numbered_names_follow_the_order_of_classes(tmp_path):
  """The two dense layers of `sequential` have other shapes; exchanged, they do not fit and no weight is guessed."""
  def exchange(file):
    file['layers'].move('dense', 'other')
    file['layers'].move('dense_1', 'dense')
    file['layers'].move('other', 'dense_1')
  with pytest.raises(ValueError, match='has weights of the shapes'):
    keras_files.read(_changed(tmp_path, lambda layers: None, weights=exchange))
