"""Clients train on as many examples as the ledger counts, and their pixels alone determine nothing that is told."""

import dataclasses

import numpy as np
import pytest

import tff_vision as tv
from tff_vision.data import images as images_lib


class Says(images_lib.ClientImages):
  """Clients of one's own, which say that each has so many examples."""

  def __init__(self, inner, number):
    self._inner, self._number = inner, number

  @property
  def client_ids(self):
    return self._inner.client_ids

  def num_examples(self, client):
    return self._number

  def examples(self, client):
    return self._inner.examples(client)


def experiment(images, **parts):
  return tv.Experiment(tv.Task(images, model='linear'), client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4),
                       participation=tv.Fixed(4), rounds=1, **parts)


PRIVATE = {'privacy': tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0)}


@pytest.mark.parametrize('parts', [{}, PRIVATE])
def test_a_client_that_gives_other_examples_than_it_says_is_refused_before_it_trains(parts):
  images = tv.testing.tiny_images()
  says = dataclasses.replace(images, train=Says(images.train, 500))  # At this size, a round would cost next to nothing.
  with tv.open_runtime() as place:
    training = experiment(says, **parts).prepare(place)
    with pytest.raises(ValueError, match='client c0 .* has 12 examples in round 1, and is said to have 500'):
      training.next(training.begin(), 1)


def test_a_private_training_takes_no_images_of_other_sizes():
  images = tv.testing.tiny_images()
  indices = [np.arange(len(images.train.pool.y)) for _ in images.train.client_ids]
  larger = dataclasses.replace(images, train=images_lib.ArrayClients(images.train.pool, indices,
                                                                     list(images.train.client_ids)))
  with tv.open_runtime() as place:
    assert experiment(images).prepare(place).with_images(larger).task.images.train.sizes.sum() == 160
    with pytest.raises(ValueError, match='with_images: what is promised counts on'):
      experiment(images, **PRIVATE).prepare(place).with_images(larger)
    with pytest.raises(ValueError, match='with_data does not go with privacy=example_dp_sgd'):
      experiment(images, **PRIVATE).prepare(place).with_data(None)


@pytest.mark.parametrize(('client', 'test', 'refused'), [
    ((0.0, 1.0), (0.0, 1.0), False), ((-1.0, 1.0), (-1.0, 1.0), False), ((0.2, 0.8), (0.0, 1.0), False),
    ((-1.0, 1.0), (0.0, 1.0), True), ((0.0, 1.7), (0.0, 1.0), True), ((0.0, 1.0), None, False),
    ((-1.0, 1.0), None, True)])
def test_a_range_of_pixels_that_only_clients_tell_is_told_under_no_promise(client, test, refused):
  def pixels(ends):
    return np.linspace(*ends, 6 * 64, dtype=np.float32).reshape(6, 8, 8), np.arange(6) % 3

  def ledger(**parts):
    images = tv.data.from_arrays({'a': pixels((0.0, 1.0)), 'b': pixels(client)},
                                 test=None if test is None else pixels(test), class_names=('x', 'y', 'z'))
    return tv.Experiment(tv.Task(images, model='linear'), participation=tv.Fixed(2), rounds=1, **parts).ledger()

  assert ledger().epsilon == np.inf  # Without a promise, anything may be told.
  if refused:
    with pytest.raises(ValueError, match='floats whose range only the clients\' own images tell'):
      ledger(**PRIVATE)
  else:
    assert ledger(**PRIVATE).epsilon > 0
