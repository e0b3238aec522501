"""Models: the parameter counts of the papers, refusals, dropout that can be replayed."""

import numpy as np
import pytest
import tensorflow as tf

from tests import tiny
from tff_vision.models import MODELS, check, normalization, personal_layers, replayable


@pytest.mark.parametrize(('name', 'classes', 'parameters'), [
    ('cnn', 10, 1_663_370),  # McMahan et al. 2017
    ('cnn_dropout', 62, 1_206_590),  # Reddi et al. 2021
    ('cnn_tanh', 10, 26_010),  # Papernot et al. 2021
    ('cnn_private', 10, 28_906),
    ('lenet', 10, 44_426),  # Li et al. 2022
    ('mlp', 10, 199_210),  # McMahan et al. 2017, the 2NN
    ('unet_gn', 2, 536_338), ('unet_gn_small', 2, 32_714),
])
def test_parameter_counts_of_the_papers(name, classes, parameters):
  assert MODELS[name]((28, 28, 1), classes).count_params() == parameters


MAPS = ('centernet_gn', 'unet3d_gn', 'unet_gn', 'unet_gn_small')  # Their outputs are no vector; other tests check them.
LARGE = ('mobilenet_v3_small', 'resnet18_gn', 'resnet20_gn', 'vit_tiny')  # Seconds each to build.


@pytest.mark.parametrize(('name', 'shape', 'classes', 'parameters'), [
    ('linear', (28, 28, 1), 10, 7850),
    ('lenet', (32, 32, 3), 10, 62_006),  # Li et al. 2022
    ('resnet20_gn', (32, 32, 3), 10, 269_722),  # He et al. 2016, 0.27 M
    ('vit_tiny', (224, 224, 3), 1000, 5_717_416 - 2 * 192),  # DeiT-Ti without class token and its position
])
def test_parameter_counts_of_larger_models(name, shape, classes, parameters):
  assert MODELS[name](shape, classes).count_params() == parameters


def test_resnet18_has_the_parameters_of_tffs():
  from tensorflow_federated.python.simulation.models import resnet_models
  theirs = resnet_models.create_resnet(
      (32, 32, 3), 100, resnet_models.ResidualBlock.BASIC, [2, 2, 2, 2], initial_strides=(1, 1),
      initial_kernel_size=(3, 3), initial_max_pooling=False)
  assert MODELS['resnet18_gn']((32, 32, 3), 100).count_params() == theirs.count_params() == 11_220_132


@pytest.mark.ci
@pytest.mark.parametrize('name', LARGE)
def test_large_models_take_odd_images_and_come_back_from_a_keras_file(name, tmp_path):
  model = MODELS[name]((28, 21, 1), 7)
  check.check(model, input_shape=(28, 21, 1), output_shape=(7,))
  x = np.random.default_rng(0).random((3, 28, 21, 1), np.float32)
  logits = model(x)
  assert logits.shape == (3, 7) and np.ptp(logits, axis=0).min() > 0, 'the images make a difference'
  model.save(tmp_path / 'model.keras')
  np.testing.assert_array_equal(tf.keras.models.load_model(tmp_path / 'model.keras', compile=False)(x), logits)


@pytest.mark.parametrize(('channels', 'groups'), [(16, 2), (24, 3), (64, 8), (88, 11), (512, 32), (576, 32), (7, 1),
                                                  (34, 2), (1, 1)])
def test_groups_divide_the_channels_and_are_not_small(channels, groups):
  assert normalization.groups_of(channels) == groups


@pytest.mark.parametrize('name', [name for name in MODELS if name not in (*LARGE, *MAPS, 'autoencoder')])
@pytest.mark.parametrize('shape', [(16, 16, 1), (32, 32, 3), (28, 21, 1)])
def test_every_model_takes_every_image_shape_and_returns_logits(name, shape):
  model = MODELS[name](shape, 7)
  own = personal_layers.chosen(model, 'norm') if name == 'cnn_bn' else ()
  check.check(model, input_shape=shape, output_shape=(7,), personal=own)
  assert model(np.zeros((2, *shape), np.float32)).shape == (2, 7)


@pytest.mark.parametrize('name', ['cnn', 'cnn_dropout', 'cnn_private', 'cnn_tanh', 'lenet', 'scattering', 'scatternet'])
def test_too_small_images_are_refused_with_their_size(name):
  with pytest.raises(ValueError, match='3x3'):
    MODELS[name]((3, 3, 1), 7)


def _sequential(*layers):
  return tf.keras.Sequential([tf.keras.layers.Input((4, 4, 1)), *layers, tf.keras.layers.Flatten(),
                              tf.keras.layers.Dense(3)], name='home_made')


@pytest.mark.parametrize(('model', 'match'), [
    (lambda: _sequential(tf.keras.layers.BatchNormalization(name='the_norm')), 'the_norm'),
    (lambda: _sequential(tf.keras.Sequential([tf.keras.layers.BatchNormalization(name='inner')])), 'inner'),
    (lambda: _sequential(tf.keras.layers.Dense(2, dtype='float64')), 'float64'),
    (lambda: _sequential(tf.keras.layers.Conv2D(2, 1, dtype='mixed_float16', name='halved')), 'halved.*float16'),
    (lambda: _sequential(tf.keras.layers.Dense(2, dtype='mixed_bfloat16', name='cut')), 'cut.*bfloat16'),
    (lambda: _sequential(tf.keras.layers.Dense(2, kernel_constraint='unit_norm', name='bound')),
     'bound/kernel.*UnitNorm'),
    (lambda: _sequential(tf.keras.layers.Dense(2, bias_constraint='non_neg', name='bound')), 'bound/bias.*NonNeg'),
    (lambda: _sequential(tf.keras.layers.GroupNormalization(1, gamma_constraint='non_neg')), 'gamma.*NonNeg'),
])
def test_unfit_models_are_refused_by_name(model, match):
  with pytest.raises(ValueError, match=match):
    check.check(model(), input_shape=(4, 4, 1), output_shape=(3,))


def test_a_constraint_on_a_frozen_weight_is_idle():
  check.check(_sequential(tf.keras.layers.Dense(2, kernel_constraint='unit_norm', trainable=False)),
              input_shape=(4, 4, 1), output_shape=(3,))


@pytest.mark.parametrize(('shape', 'outputs'), [((5, 4, 1), 3), ((4, 4, 1), 2)])
def test_a_model_that_does_not_fit_the_data_is_refused(shape, outputs):
  with pytest.raises(ValueError, match='home_made'):
    check.check(_sequential(), input_shape=shape, output_shape=(outputs,))


def test_replayable_dropout_repeats_for_the_same_input_and_changes_with_it():
  layer = replayable.ReplayableDropout(0.4)
  x = np.random.default_rng(0).random((50, 200), np.float32)
  first, again, other = layer(x, training=True), layer(x, training=True), layer(x + 1e-3, training=True)
  np.testing.assert_array_equal(first, again)
  kept, other_kept = np.asarray(first) != 0, np.asarray(other) != 0
  assert abs(kept.mean() - 0.6) < 4 * np.sqrt(0.24 / kept.size)
  assert abs((kept & other_kept).mean() - 0.36) < 0.02, 'masks of different inputs must be independent'
  np.testing.assert_allclose(np.asarray(first)[kept], x[kept] / 0.6, rtol=1e-6)
  np.testing.assert_array_equal(layer(x, training=False), x)


def test_models_without_dropout_are_left_alone_and_dropout_is_replaced():
  plain = tiny.linear((8, 8, 1), 3)
  assert replayable.with_replayable_dropout(lambda: plain) is plain
  replaced = replayable.with_replayable_dropout(lambda: MODELS['cnn_dropout']((8, 8, 1), 3))
  kinds = [type(layer) for layer in replaced.layers if isinstance(layer, tf.keras.layers.Dropout)]
  assert kinds == [replayable.ReplayableDropout] * 2
