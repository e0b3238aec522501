"""Own models and losses that cannot be trained are refused in one sentence; unusual ones train as they should."""

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv

layers, losses = tf.keras.layers, tf.keras.losses


def network(input_shape, num_classes):
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(num_classes)])


class Subclassed(tf.keras.Model):
  """Knows no input until it is called."""

  def __init__(self, num_classes):
    super().__init__()
    self.flat, self.dense = layers.Flatten(), layers.Dense(num_classes)

  def call(self, inputs):
    return self.dense(self.flat(inputs))


class Doubled(layers.Layer):
  """Is not registered with Keras, so that no file can hold it."""

  def call(self, inputs):
    return 2 * inputs


def with_layer(layer):
  return lambda input_shape, num_classes: tf.keras.Sequential(
      [layers.Input(input_shape), layers.Flatten(), layer(), layers.Dense(num_classes)])


def with_tensors(inputs, outputs):
  """Returns a builder of a model whose inputs and outputs stand in the structures that two functions make."""
  def build(input_shape, num_classes):
    pixels = tf.keras.Input(input_shape)
    return tf.keras.Model(inputs(pixels), outputs(layers.Dense(num_classes)(layers.Flatten()(pixels))))
  return build


def called(input_shape, num_classes):
  model = Subclassed(num_classes)
  model(tf.keras.Input(input_shape))
  return model


def experiment(model=network, loss=None):
  task = tv.Task(tv.testing.tiny_images(), model=model, objective=tv.Classification(loss=loss))
  return tv.Experiment(task, client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), participation=tv.Fixed(3),
                       rounds=1)


def one_round(made):
  with tv.open_runtime() as place:
    training = made.prepare(place)
    output = training.next(training.begin(), 1)
    return training.weights(output.state).trainable


@pytest.mark.parametrize(('model', 'said'), [
    (lambda num_classes, input_shape: network(input_shape, num_classes), 'fails for input_shape=.* with TypeError: '),
    (lambda input_shape, num_classes: 1 / 0, 'fails for input_shape=.* with ZeroDivisionError: division by zero'),
    (lambda input_shape, num_classes: tf.keras.Sequential([layers.Flatten(), layers.Dense(num_classes)]),
     r'\(Sequential\) does not know its input.*: begin it with tf.keras.Input'),
    (lambda input_shape, num_classes: Subclassed(num_classes), r'\(Subclassed\) does not know its input'),
    (called, r'\(Subclassed\) does not know its input'),
    (with_tensors(lambda x: {'pixels': x}, lambda y: y), r'takes tensors by name \(pixels\): make it as'),
    (with_tensors(lambda x: x, lambda y: {'logits': y}), r'returns tensors by name \(logits\): make it as'),
    (with_tensors(lambda x: [x, tf.keras.Input((3,))], lambda y: y), 'takes 2 tensors: make it as'),
    (with_tensors(lambda x: x, lambda y: (y, 2 * y)), 'returns 2 tensors: make it as')])
def test_models_that_cannot_be_built_are_refused_in_one_sentence(model, said):
  with pytest.raises(ValueError, match=said) as refused:
    assert experiment(model).problem
  assert '\n' not in str(refused.value)


@pytest.mark.parametrize(('layer', 'said'), [
    (Doubled, 'model=.* cannot be saved as a Keras file and read again.*Doubled.*register every class of your own'),
    (lambda: layers.Lambda(lambda x: 2 * x), r"model=.*: layer 'lambda.*' is a Lambda with Python code inside")])
def test_a_model_that_no_file_can_hold_is_refused_before_it_is_trained(layer, said, tmp_path):
  with pytest.raises(ValueError, match=said) as refused:
    experiment(with_layer(layer)).run(tmp_path / 'run')
  assert '\n' not in str(refused.value) and not (tmp_path / 'run').exists()
  with pytest.raises(AssertionError, match=said):
    tv.testing.check_model(with_layer(layer))


def test_a_model_in_lists_of_one_tensor_is_trained():
  one_round(experiment(with_tensors(lambda x: [x], lambda y: [y])))


def test_a_model_that_is_shared_or_changes_between_calls_is_refused():
  shared = network((8, 8, 1), 3)
  units = iter(range(4, 40))
  with pytest.raises(ValueError, match='returns the weights .* of the model that it returned before'):
    one_round(experiment(lambda input_shape, num_classes: shared))
  with pytest.raises(ValueError, match='returns another model each time'):
    one_round(experiment(lambda input_shape, num_classes: tf.keras.Sequential(
        [layers.Input(input_shape), layers.Flatten(), layers.Dense(next(units)), layers.Dense(num_classes)])))


def test_weights_that_the_loss_does_not_reach_stay_as_they_are():
  def stopped(input_shape, num_classes):
    inputs = tf.keras.Input(input_shape)
    hidden = layers.Lambda(tf.stop_gradient)(layers.Dense(4)(layers.Flatten()(inputs)))
    return tf.keras.Model(inputs, layers.Dense(num_classes)(hidden))

  made = experiment(stopped)
  before = made.plan().task.initial_weights().trainable
  after = one_round(made)
  assert [np.array_equal(one, other) for one, other in zip(before, after, strict=True)] == [True, True, False, False]


@pytest.mark.parametrize(('loss', 'said'), [
    (losses.SparseCategoricalCrossentropy(from_logits=True, reduction='sum'), 'reduction=sum'),
    (losses.SparseCategoricalCrossentropy(), r'takes probabilities \(from_logits=False\)'),
    (losses.SparseCategoricalCrossentropy, r'takes probabilities \(from_logits=False\)'),
    (losses.sparse_categorical_crossentropy, r'takes probabilities \(from_logits=False\)'),
    (losses.CategoricalCrossentropy(from_logits=True), 'fails for labels int32 .* are incompatible'),
    (losses.Hinge(), 'fails for labels int32'), (losses.MeanSquaredError(), 'fails for labels int32'),
    (lambda labels, logits, more: labels, r'cannot be called as \(labels, logits\)'),
    (lambda labels, logits: logits.numpy().mean(), 'AttributeError: .*numpy'),
    (lambda labels, logits: tf.cast(logits[:, 0], tf.int32), 'must return one floating-point number for each example'),
    (lambda labels, logits: logits, r'must return one number for each example, found \(37, 3\)'),
    (lambda labels, logits: None, 'None values not supported'),
    (lambda labels, logits: tf.zeros(tf.shape(logits)[0]), 'does not depend on the outputs')])
def test_losses_that_cannot_be_trained_with_are_refused_in_one_sentence(loss, said):
  with pytest.raises(ValueError, match=said) as refused:
    assert experiment(loss=loss).problem
  assert '\n' not in str(refused.value) and 'loss=' in str(refused.value)


def test_a_keras_loss_without_reduction_is_averaged():
  usual, alone = (one_round(experiment(loss=losses.SparseCategoricalCrossentropy(
      from_logits=True, reduction=reduction))) for reduction in ('auto', 'none'))
  for one, other in zip(usual, alone, strict=True):
    np.testing.assert_array_equal(one, other)
