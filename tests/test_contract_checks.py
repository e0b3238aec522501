"""Contract checks pass what keeps the contract, and ring for each way in which it can be broken."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tff_vision.data import images
from tff_vision.objectives import anomaly, classification, embedding, losses

TINY = tv.testing.tiny_images()


def changed(**parts):
  return dataclasses.replace(TINY, **parts)


class Careless(images.ArrayClients):
  """Reads otherwise than it says."""

  def __init__(self, examples, number=None):
    super().__init__(TINY.train.pool, TINY.train.indices, TINY.train.client_ids)
    object.__setattr__(self, '_examples', examples)
    object.__setattr__(self, '_number', number)

  def num_examples(self, client):
    return super().num_examples(client) if self._number is None else self._number

  def examples(self, client):
    return self._examples(super().examples(client))


def relabelled(examples):
  return images.Examples(examples.x, examples.y + 3)


def noisy(examples):
  return images.Examples(np.random.default_rng().integers(0, 256, examples.x.shape, np.uint8), examples.y)


def not_finite(examples):
  return images.Examples(np.full(examples.x.shape, np.nan, np.float32), examples.y)


def held_out(clients):
  return images.HeldOut(examples=TINY.test.examples, clients=clients)


@pytest.mark.parametrize(('broken', 'said'), [
    (lambda: changed(train=Careless(relabelled)), 'client c0 has labels outside of 0..2'),
    (lambda: changed(train=Careless(lambda examples: examples, number=99)), 'client c0 has another number of examples'),
    (lambda: changed(train=Careless(noisy)), 'client c0 has other examples when it is read again'),
    (lambda: changed(train=Careless(not_finite)), 'client c0 has pixels of float32, and not uint8'),
    (lambda: changed(train=Careless(lambda part: images.Examples(part.x[:, ::2], part.y))),
     r'client c0 has the shape \[4, 8, 1\], and not \[8, 8, 1\]'),
    (lambda: changed(train=Careless(not_finite), test=None, spec=dataclasses.replace(TINY.spec, dtype=np.float32)),
     'client c0 has pixels that are not finite'),
    (lambda: changed(train=dataclasses.replace(TINY.train, client_ids=['a', 'a', 'b', 'c'])), 'not unique'),
    (lambda: changed(test=held_out([np.arange(3), np.arange(2, 5), *[np.zeros(0, int)] * 2])), 'an example to two'),
    (lambda: changed(test=held_out([np.arange(28, 31), *[np.zeros(0, int)] * 3])), 'one that it does not have'),
    (lambda: changed(test=held_out([np.arange(3)])), 'divided over 1 clients, and 4 train')])
def test_images_that_are_not_what_they_say(broken, said):
  with pytest.raises(AssertionError, match=said):
    tv.testing.check_images(broken())


def test_images_that_are_what_they_say():
  tv.testing.check_images(TINY)
  tv.testing.check_images(changed(test=None))
  tv.testing.check_images(tv.data.load('digits', partition=tv.Iid(3)))
  findings = (np.zeros((4, 5, 5), np.uint8), np.eye(4, dtype=np.float32)[:, :3])
  tv.testing.check_images(tv.data.from_arrays({'a': findings}, test=findings))
  with pytest.raises(AssertionError, match='findings other than 0 and 1'):
    wrong = tv.data.from_arrays({'a': findings}, test=None)
    wrong.train.pool.y[0, 0] = 0.5
    tv.testing.check_images(wrong)


class Silent(classification.Classification):
  """Measures nothing of what stands first."""

  def measure(self, outputs, y):
    return {'evaluation': {'loss': 1.0}}


class Boastful(classification.Classification):
  """Its share is above one."""

  def measure(self, outputs, y):
    return {'evaluation': {'accuracy': 1.5}}


class Generous(classification.Classification):
  """Finds more right answers than there are."""

  def right(self, outputs, y):
    return tf.constant(99.0, tf.float64)


class Spread(classification.Classification):
  """Has a number for clients without examples."""

  def client_values(self, outputs, y, clients):
    return [0.5 for _ in clients]


class Mixing(classification.Classification):
  """Says that examples stand alone, and mixes them."""
  separable = True

  @property
  def loss_fn(self):
    return losses._OfFunction(lambda y, logits: tf.reduce_mean(logits) + logits[:, 0])


class Wide(classification.Classification):
  """Has another number of outputs than it says."""

  def keras_model(self, builder, input_shape):
    return builder(input_shape, self.num_outputs + 1)


@pytest.mark.parametrize(('kind', 'said'), [
    (Silent, "lacks 'accuracy', the metric that stands first"), (Boastful, 'declared a share, and is 1.5'),
    (Generous, 'says that 99 of 30 answers are right'), (Spread, 'None for a client without examples'),
    (Mixing, 'depends on the others'), (Wide, r'returns \(30, 4\) for 30 images, and num_outputs is 3')])
def test_objectives_that_break_the_contract(kind, said):
  with pytest.raises(AssertionError, match=said):
    tv.testing.check_objective(kind(num_outputs=3, multi_label=False))


def test_an_objective_whose_first_metric_is_not_declared():
  with pytest.raises(AssertionError, match="'other' is not among those that it declares"):
    tv.testing.check_objective(classification.Classification(num_outputs=3, multi_label=False, metric='other'))


def repeating(input_shape, num_classes):
  layers = tf.keras.layers
  return tf.keras.Sequential([layers.Input(input_shape), layers.Flatten(), layers.Dense(5), layers.Dense(
      np.prod(input_shape)), layers.Reshape(input_shape)])


@pytest.mark.ci
def test_built_in_objectives_keep_the_contract():
  tv.testing.check_objective(classification.Classification(num_outputs=3, multi_label=False))
  tv.testing.check_objective(embedding.Embedding(num_outputs=4))
  tv.testing.check_objective(anomaly.Anomaly(normal=0), model=repeating)


class CountingOnSomebody(tff.aggregators.UnweightedAggregationFactory):
  """The sum over the number of clients, who must be there."""

  def create(self, value_type):
    inner = tff.aggregators.SumFactory().create(value_type)

    @tff.federated_computation(inner.initialize.type_signature.result, tff.FederatedType(value_type, tff.CLIENTS))
    def next_fn(state, value):
      summed = inner.next(state, value)
      count = tff.federated_sum(tff.federated_value(np.float32(1), tff.CLIENTS))

      @tff.tensorflow.computation
      def divide(total, number):
        with tf.control_dependencies([tf.debugging.assert_positive(number, 'nobody is there')]):
          return tf.nest.map_structure(lambda part: part / number, total)

      return tff.templates.MeasuredProcessOutput(
          summed.state, tff.federated_map(divide, (summed.result, count)), summed.measurements)

    return tff.templates.AggregationProcess(inner.initialize, next_fn)


class Starting(tv.Algorithm):
  """Counts on a first example of its client, who may have none."""

  def work(self, client):
    trained = client.descend()
    with tf.control_dependencies([tf.debugging.assert_positive(tf.shape(client.examples()[1])[0])]):
      return tv.Work(trained=trained, sent=tuple(map(tf.identity, trained.update())))


@pytest.mark.ci
def test_an_aggregator_that_fails_where_nobody_takes_part():
  with pytest.raises(AssertionError, match='a round of nobody fails: '):
    tv.testing.check_aggregator(CountingOnSomebody())


@pytest.mark.ci
def test_an_algorithm_that_fails_where_a_client_has_no_example():
  with pytest.raises(AssertionError, match='a round of a client without examples fails: '):
    tv.testing.check_algorithm(Starting(), model='linear')


def test_a_function_that_returns_no_model():
  with pytest.raises(AssertionError, match=r'it returns int, and no tf\.keras\.Model'):
    tv.testing.check_model(lambda input_shape, num_classes: 5)
