"""A task's client data sets and initial weights are pure functions of seed, client and round."""

import numpy as np
import pytest
import tensorflow as tf

from tests import built, tiny
from tff_vision import configs, tasks
from tff_vision.data import images


def batches(task, client, round_num):
  return list(task.client_batches(client, round_num).as_numpy_iterator())


def test_a_client_data_set_holds_every_example_once_an_epoch_scaled_and_batched():
  task = tiny.task(client_epochs=3)
  found = batches(task, 1, 1)
  assert [len(y) for _, y in found] == [4] * 9
  x = np.concatenate([x for x, _ in found])
  expected = task.images.train.examples(1).x.astype(np.float32) / 255
  assert x.dtype == np.float32
  for epoch in np.split(x, 3):
    np.testing.assert_allclose(np.sort(epoch.ravel()), np.sort(expected.ravel()), rtol=1e-6)


def test_the_order_repeats_for_the_round_and_differs_between_rounds_epochs_and_clients():
  task = tiny.task(sizes=(40, 40), client_epochs=2, batch_size=40)
  one, again, later = batches(task, 0, 1), batches(task, 0, 1), batches(task, 0, 2)
  np.testing.assert_array_equal(one[0][0], again[0][0])
  assert not np.array_equal(one[0][0], later[0][0])
  assert not np.array_equal(one[0][0], one[1][0]), 'epochs must be shuffled anew'


def test_initial_weights_depend_on_the_seed_alone_and_leave_global_generators_alone():
  task = tiny.task()
  np.random.seed(1)
  first = task.initial_weights().trainable
  after = np.random.random()
  np.random.seed(1)
  assert after == np.random.random()
  tf.random.set_seed(99)
  for a, b in zip(first, task.initial_weights().trainable, strict=True):
    np.testing.assert_array_equal(a, b)


def test_layers_have_the_same_names_in_every_model():
  task = tiny.task(tiny.two_layers)
  first, second = ([layer.name for layer in task.keras_model().layers] for _ in range(2))
  assert first == second == ['flatten', 'dense', 'dense_1'], 'personal_layers goes by them'


def test_a_model_that_does_not_fit_is_refused_when_the_task_is_built():
  with pytest.raises(ValueError, match='linear'):
    tiny.task(builder=lambda shape, classes: tiny.linear(shape, classes + 1))


def test_a_data_set_without_clients_is_refused():
  good = tiny.federated_images()
  empty = images.FederatedImages(name='hollow', class_names=good.class_names, test=good.test,
                                 train=images.ArrayClients(good.test.examples, (), ()))
  with pytest.raises(ValueError, match='hollow'):
    tasks.Task(images=empty, model_builder=tiny.linear, client=tiny.task().client, seed=0)


@pytest.mark.parametrize('task, noted', [('embedding', True), ('classification', False)])
def test_clients_with_one_class_are_noted_where_classes_are_compared(tmp_path, task, noted):
  x = np.arange(6 * 64).reshape(6, 8, 8).astype(np.uint8)
  np.savez(tmp_path / 'data.npz', x=x, y=[0, 1, 0, 0, 1, 0], client=list('aabbcc'), x_test=x, y_test=[0, 1] * 3)
  data = configs.DataConfig(dataset='npz', data_dir=str(tmp_path / 'data.npz'), partition='natural', num_clients=None)
  made = built.task(configs.ExperimentConfig(data=data, task=configs.TaskConfig(task=task)))
  found = [note for note in made.images.notes if 'images of one class alone' in note]
  assert [type(note) for note in found] == [images.Counted] * noted
  assert not noted or found[0].startswith('1 of 3 clients hold')


def test_a_client_without_an_image_is_none_of_a_single_class():
  pool = images.Examples(np.zeros((5, 4, 4, 1), np.uint8), np.array([0, 1, 0, 0, 1], np.int32))
  made = images.FederatedImages(
      name='some', class_names=['a', 'b'], test=images.HeldOut(examples=pool, clients=[]),
      train=images.ArrayClients(pool, (np.arange(3), np.array([], np.int64), np.arange(2, 4)), ('x', 'nobody', 'z')))
  [note] = tasks._with_note_on_one_class(made).notes
  assert note.startswith('1 of 3 clients hold')
