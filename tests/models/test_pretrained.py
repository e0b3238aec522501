"""Models that begin with a file, and the conversion of BatchNorm to GroupNorm."""

import numpy as np
import pytest
import tensorflow as tf

from tests import built, tiny
from tff_vision import configs
from tff_vision.configs import model_config
from tff_vision.models import MODELS, check, convert, keras_files, pretrained
from tff_vision.objectives import anomaly, embedding, ordinal, regression

SHAPE = (12, 12, 1)


def network(classes=5, activation=None, norm=tf.keras.layers.BatchNormalization):
  """A functional model with a nested one, as backbones usually are."""
  inner = tf.keras.Sequential([tf.keras.layers.Input(SHAPE), tf.keras.layers.Conv2D(16, 3, name='conv_a'),
                               norm(name='norm_a'), tf.keras.layers.Conv2D(16, 3, name='conv_b')], name='backbone')
  images = tf.keras.layers.Input(SHAPE)
  x = tf.keras.layers.GlobalAveragePooling2D()(norm(name='norm_top')(inner(images)))
  return tf.keras.Model(images, tf.keras.layers.Dense(classes, activation=activation, name='top')(x), name='network')


@pytest.fixture
def saved(tmp_path):
  """Returns save(model) -> path, with weights that none has at first."""
  def save(model, name='model.keras'):
    rng = np.random.default_rng(0)
    model.set_weights([rng.uniform(0.5, 1.5, w.shape) for w in model.get_weights()])
    model.save(tmp_path / name)
    return str(tmp_path / name)
  return save


def load(path, outputs=5, frozen='', shape=SHAPE):
  return pretrained.load(path, frozen_layers=frozen, input_shape=shape, num_outputs=outputs)


def images(count=3):
  return np.random.default_rng(1).random((count, *SHAPE), np.float32)


def test_the_converter_carries_affine_weights_and_says_what_it_dropped(saved):
  old = keras_files.read(saved(network()))
  made, changes = convert.to_group_norm(old)
  assert [(c.layer, c.channels, c.groups) for c in changes] == [('norm_a', 16, 2), ('norm_top', 16, 2)]
  assert all(c.carried == ['gamma', 'beta'] and 'moving_mean' in c.dropped for c in changes)
  check.check(made, input_shape=SHAPE, output_shape=(5,))
  for name in ('gamma', 'beta'):
    np.testing.assert_array_equal(getattr(made.get_layer('norm_top'), name), getattr(old.get_layer('norm_top'), name))
  np.testing.assert_array_equal(made.get_layer('backbone').get_layer('conv_b').kernel,
                                old.get_layer('backbone').get_layer('conv_b').kernel)
  with pytest.raises(ValueError, match='pipelines.convert_model'):
    check.check(old, input_shape=SHAPE, output_shape=(5,))


def test_a_model_is_built_again_whatever_its_layers_do_to_their_config(saved):
  pixels = tf.keras.layers.Input(SHAPE)
  rows = tf.keras.layers.Reshape(SHAPE[:2])(pixels)
  rows = tf.keras.layers.MultiHeadAttention(2, 4)(rows, rows)
  model = tf.keras.Model(pixels, tf.keras.layers.Dense(5)(tf.keras.layers.Flatten()(rows)))
  found = load(saved(model))
  for _ in range(2):
    made = found.build(SHAPE, 5)
    found.start(made)
    np.testing.assert_allclose(made(images()), model(images()), atol=1e-5)


def test_what_a_normalization_was_adapted_to_is_constant(saved, tmp_path):
  """In a model of its own and nested in another, as EfficientNet has it."""
  pixels = tf.keras.layers.Input(SHAPE)
  first, second = tf.keras.layers.Normalization(name='first'), tf.keras.layers.Normalization(axis=None, name='second')
  inner = tf.keras.Sequential([tf.keras.layers.Input(SHAPE), second, tf.keras.layers.Conv2D(4, 3)], name='inner')
  model = tf.keras.Model(pixels, tf.keras.layers.Dense(5)(tf.keras.layers.Flatten()(inner(first(pixels)))))
  rng = np.random.default_rng(0)
  model.set_weights([np.int64(3) if w.dtype == tf.int64 else rng.uniform(0.5, 1.5, w.shape) for w in model.weights])
  model.save(tmp_path / 'model.keras')
  found = load(str(tmp_path / 'model.keras'))
  made = found.build(SHAPE, 5)
  found.start(made)
  check.check(made, input_shape=SHAPE, output_shape=(5,))
  np.testing.assert_allclose(made(images()), model(images()), rtol=1e-4)
  # Without weights there is nothing that a client's graph could read before it has its value.
  assert len(made.weights) == len(made.trainable_weights) == 4
  with pytest.raises(ValueError, match=r"'first' of model .* adapted .* \(mean=, variance=\)"):
    check.check(model, input_shape=SHAPE, output_shape=(5,))


@pytest.mark.parametrize('objective', [
    regression.Regression(offset=50.0, scale=10.0), ordinal.Ordinal(order=(2, 0, 1)),
    embedding.Embedding(num_outputs=6)])
def test_an_exported_model_goes_on_without_what_its_task_put_on_top(tmp_path, objective):
  dense = lambda shape, outputs: tf.keras.Sequential([
      tf.keras.layers.Input(shape), tf.keras.layers.Flatten(), tf.keras.layers.Dense(outputs)])
  model = objective.keras_model(dense, SHAPE)
  pixels = tf.keras.layers.Input(SHAPE)
  tf.keras.Model(pixels, model(pixels), name='with_preprocessing').save(tmp_path / 'model.keras')
  tf.keras.backend.clear_session()
  found = load(str(tmp_path / 'model.keras'), outputs=objective.head)
  again = objective.keras_model(found.build, SHAPE)
  found.start(again)
  np.testing.assert_allclose(again(images()), model(images()), rtol=1e-5)
  assert 'belongs to the task' in found.notes[1] and len(again.layers) == len(model.layers)


def test_an_autoencoder_of_a_file_may_have_the_names_that_keras_gives(saved):
  pixels = tf.keras.layers.Input(SHAPE)
  pooled = tf.keras.layers.AveragePooling2D(2, name='average_pooling2d')(pixels)
  both = tf.keras.layers.Concatenate(name='concatenate')([pooled, pooled])
  out = tf.keras.layers.Conv2DTranspose(1, 2, strides=2)(both)
  path = saved(tf.keras.Model(pixels, out))
  tf.keras.backend.clear_session()
  found = load(path, outputs=None)
  assert anomaly.Anomaly(normal=0).keras_model(found.build, SHAPE).output_shape == (None, 2)


def test_a_new_head_takes_no_name_of_the_file(saved):
  """The names that Keras gives begin anew in each process, so that the file's and new ones are the same."""
  pixels = tf.keras.layers.Input(SHAPE)
  x = tf.keras.layers.GlobalAveragePooling2D(keepdims=True, name='pooled_head_of_3')(
      tf.keras.layers.Conv2D(4, 3, name='head_of_3')(pixels))
  x = tf.keras.layers.Reshape((5,))(tf.keras.layers.Conv2D(5, 1, name='top')(x))
  path = saved(tf.keras.Model(pixels, tf.keras.layers.Softmax()(x)))
  tf.keras.backend.clear_session()
  made = load(path, outputs=3).build(SHAPE, 3)
  assert made.output_shape == (None, 3) and made.layers[-1].name == 'head_of_3_2'


def test_models_of_which_nothing_can_be_learned_or_run_are_named(saved):
  pixels = tf.keras.layers.Input(SHAPE)
  logits = tf.keras.layers.Dense(5)(tf.keras.layers.Flatten()(pixels))
  with pytest.raises(ValueError, match=r'returns whole numbers \(int64\).* take its last layer tf.math.argmax'):
    load(saved(tf.keras.Model(pixels, tf.argmax(logits, -1))))
  coded = tf.keras.Model(pixels, tf.keras.layers.Lambda(lambda x: 2 * x, name='twice')(logits))
  for name in ('coded.keras', 'coded.h5'):
    with pytest.raises(ValueError, match=f'{name} has a Lambda layer.* import=FILE.py'):
      load(saved(coded, name))


@pytest.mark.ci
def test_a_converted_mobilenet_of_keras_is_ours(saved):
  theirs = tf.keras.applications.MobileNetV3Small(input_shape=(64, 64, 3), weights=None, classes=7,
                                                  classifier_activation=None, include_preprocessing=False)
  ours = MODELS['mobilenet_v3_small']((64, 64, 3), 7)
  made, _ = convert.to_group_norm(theirs)
  ours.set_weights(made.get_weights())
  x = np.random.default_rng(0).random((2, 64, 64, 3), np.float32)
  np.testing.assert_allclose(ours(x), made(x), atol=1e-5)


def test_a_file_begins_where_it_ended(saved):
  model = network(norm=tf.keras.layers.LayerNormalization)
  path = saved(model)
  given = load(path)
  made = given.build(SHAPE, 5)
  given.start(made)
  np.testing.assert_allclose(made(images()), model(images()), rtol=1e-5)


def test_a_softmax_is_taken_off_and_said(saved):
  for activation in ('softmax', 'sigmoid'):
    model = network(activation=activation, norm=tf.keras.layers.LayerNormalization)
    given = load(saved(model))
    made = given.build(SHAPE, 5)
    given.start(made)
    np.testing.assert_allclose(getattr(tf.nn, activation)(made(images())), model(images()), rtol=1e-4)
    assert any(activation in note and 'top' in note for note in given.notes)


def test_a_head_of_another_size_is_replaced_and_the_rest_kept(saved):
  model = network(norm=tf.keras.layers.LayerNormalization)
  given = load(saved(model), outputs=3)
  made = given.build(SHAPE, 3)
  before = made.get_layer('head_of_3').get_weights()
  given.start(made)
  assert made(images()).shape == (3, 3)
  np.testing.assert_array_equal(before[0], made.get_layer('head_of_3').get_weights()[0])
  np.testing.assert_array_equal(made.get_layer('norm_top').get_weights(), model.get_layer('norm_top').get_weights())
  assert any('5 outputs' in note and 'head_of_3' in note for note in given.notes)


@pytest.mark.parametrize(('patterns', 'left'), [
    ('backbone', {'norm_top', 'top'}), ('conv_*, norm_top', {'norm_a', 'top'}),
    ('norm_?', {'conv_a', 'conv_b', 'norm_top', 'top'})])
def test_frozen_layers_are_no_trainable_weights_of_anything(saved, patterns, left):
  given = load(saved(network(norm=tf.keras.layers.LayerNormalization)), frozen=patterns)
  made = given.build(SHAPE, 5)
  assert {weight.name.split('/')[-2] for weight in made.trainable_weights} == left
  assert any('frozen' in note for note in given.notes)


def test_frozen_batch_norms_are_allowed_and_compute_with_their_moments(saved):
  model = network()
  given = load(saved(model), frozen='norm*')
  made = given.build(SHAPE, 5)
  given.start(made)
  check.check(made, input_shape=SHAPE, output_shape=(5,))
  np.testing.assert_allclose(made(images(), training=True), model(images(), training=False), rtol=1e-4)


def test_the_inside_of_an_exported_model_is_taken(saved):
  inner = tiny.linear(SHAPE, 5)
  pixels = tf.keras.layers.Input(SHAPE)
  whole = tf.keras.Model(pixels, inner(tf.keras.layers.Rescaling(1 / 255)(pixels)), name='with_preprocessing')
  given = load(saved(whole))
  assert [layer.name for layer in given.build(SHAPE, 5).layers][-1] == inner.layers[-1].name


@pytest.mark.parametrize(('frozen', 'shape', 'match'), [
    ('convolution', SHAPE, "called 'convolution'; layers with weights are .*conv_a"), ('*', SHAPE, 'nothing'),
    ('', (12, 12, 3), 'takes images of 12x12x1, the data has 12x12x3')])
def test_what_cannot_be_is_refused_in_one_sentence(saved, frozen, shape, match):
  with pytest.raises(ValueError, match=match) as error:
    load(saved(network()), frozen=frozen, shape=shape)
  assert '\n' not in str(error.value)


def test_files_that_are_no_models_are_refused(tmp_path):
  with pytest.raises(ValueError, match='none.keras'):
    keras_files.read(str(tmp_path / 'none.keras'))
  (tmp_path / 'text.keras').write_text('no model')
  with pytest.raises(ValueError, match='text.keras'):
    keras_files.read(str(tmp_path / 'text.keras'))
  with pytest.raises(ValueError, match='initial_model'):
    model_config.ModelConfig(model='keras_file')
  with pytest.raises(ValueError, match='frozen_layers'):
    model_config.ModelConfig(frozen_layers='top')


def test_a_task_starts_with_the_file_and_its_new_head_with_the_seed(saved):
  path = saved(tf.keras.Sequential([tf.keras.layers.Input((8, 8, 1)), tf.keras.layers.Flatten(),
                                    tf.keras.layers.Dense(6, name='hidden'), tf.keras.layers.Dense(4)]))
  config = configs.ExperimentConfig(model=model_config.ModelConfig(
      model='keras_file', initial_model=path, frozen_layers='hidden'))
  one, again = (built.task(config).initial_weights() for _ in range(2))
  for a, b in zip(one.trainable, again.trainable, strict=True):
    np.testing.assert_array_equal(a, b)
  assert [w.shape for w in one.trainable] == [(6, 10), (10,)]
  assert [w.shape for w in one.non_trainable] == [(64, 6), (6,)]
  np.testing.assert_array_equal(one.non_trainable[0], keras_files.read(path).get_layer('hidden').kernel)


def _per_pixel(classes, activation=None, side=12):
  layers = tf.keras.layers
  images = layers.Input((side, side, 1))
  x = layers.Conv2DTranspose(4, 2, 2)(layers.Conv2D(4, 3, 2, 'same')(images))
  return tf.keras.Model(images, layers.Conv2D(classes, 1, activation=activation, name='top')(x))


def test_a_model_of_pixels_gets_a_head_of_as_many_classes(saved):
  path = saved(_per_pixel(3, 'softmax'))
  fit = lambda outputs: pretrained.load(path, frozen_layers='', input_shape=SHAPE, num_outputs=outputs,
                                         output_shape=(12, 12, outputs))
  same, other = fit(3), fit(5)
  made = same.build(SHAPE, 3)
  same.start(made)
  old = keras_files.read(path)
  np.testing.assert_allclose(tf.nn.softmax(made(images())), old(images()), rtol=1e-4)
  assert any('activation softmax' in note for note in same.notes)
  replaced = other.build(SHAPE, 5)
  other.start(replaced)
  check.check(replaced, input_shape=SHAPE, output_shape=(12, 12, 5))
  assert any('top with 3 outputs gave way to a new one with 5' in note for note in other.notes)
  assert isinstance(replaced.layers[-1], tf.keras.layers.Conv2D) and replaced.layers[-1].kernel_size == (1, 1)
  layers = tf.keras.layers
  half = saved(tf.keras.Sequential([layers.Input(SHAPE), layers.Conv2D(3, 3, 2, 'same')]), 'half.keras')
  with pytest.raises(ValueError, match='returns 6x6x3 for an image of 12x12; the task needs a model that returns'):
    pretrained.load(half, frozen_layers='', input_shape=SHAPE, num_outputs=3,
                    output_shape=(12, 12, 3))
  with pytest.raises(ValueError, match='the task needs a model that returns maps, a vector for each of 12x12 cells'):
    pretrained.load(saved(network(), 'classes.keras'), frozen_layers='', input_shape=SHAPE, num_outputs=3,
                    output_shape=(12, 12, 3))
