"""Arrays and client data from Python that are not as described are refused, and no client is lost."""

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv

X, Y = np.zeros((6, 8, 8), np.uint8), np.arange(6) % 3


class Data:
  """Client data whose every client has `elements`."""

  def __init__(self, elements, client_ids=('a', 'b')):
    self._elements = elements
    self.client_ids = client_ids

  def create_tf_dataset_for_client(self, client):
    return tf.data.Dataset.from_tensor_slices(self._elements)


@pytest.mark.parametrize(('given', 'said'), [
    ({'clients': {1: (X, Y), '1': (X, Y), 2: (X, Y)}}, "client has 2 keys that are '1' as text"),
    ({'test': {1: (X, Y), '1': (X, Y)}}, "test has 2 keys that are '1' as text"),
    ({'validation': {1: (X, Y), '1': (X, Y)}}, "validation has 2 keys that are '1' as text"),
    ({'clients': {'a\ud800': (X, Y)}}, r"client 'a\\ud800' has a character in its name that no file can hold"),
    ({'preprocessing': 'standardize'}, "preprocessing must be a tff_vision.data.Preprocessing, found 'standardize'"),
    ({'class_names': 'abc'}, "class_names must be a list of names, found the text 'abc'"),
    ({'pixel_range': (1, 0)}, r'pixel_range must be \(BLACK, WHITE\), .*; found \(1, 0\)'),
    ({'pixel_range': '0,255'}, "pixel_range must be .*; found '0,255'")])
def test_arrays_that_are_not_as_described_are_refused(given, said):
  with pytest.raises(ValueError, match=said):
    tv.data.from_arrays(**{'clients': {1: (X, Y)}, 'test': (X, Y), **given})


def test_arrays_of_any_range_may_say_what_is_black_and_white():
  deep = np.arange(6 * 64).reshape(6, 8, 8).astype(np.uint16)
  with pytest.raises(ValueError, match='say which values are black and white with|Say which values are black'):
    tv.data.from_arrays({'a': (deep, Y)}, test=None)
  made = tv.data.from_arrays({'a': (deep, Y)}, test=None, pixel_range=(0, 1023))
  np.testing.assert_allclose(made.train.pool.x[..., 0], deep / 1023, atol=1e-6)
  assert made.stored_pixels.window == (0, 1023) and not made.range_told_by_clients
  low = np.linspace(-0.3, 0.4, 6 * 64).reshape(6, 8, 8)
  made = tv.data.from_client_data(*[Data({'pixels': low, 'label': Y})] * 2, pixel_range=(-0.5, 0.5))
  assert (made.stored_pixels.black, made.stored_pixels.white) == (-0.5, 0.5) and not made.range_told_by_clients


@pytest.mark.parametrize(('train', 'test', 'said'), [
    (5, 5, 'train must be a tff.simulation.datasets.ClientData, found int'),
    (Data({'pixels': X, 'label': Y}), None, 'test must be a tff.simulation.datasets.ClientData, found NoneType'),
    (Data((X, Y)), Data((X, Y)), 'must be mappings with pixels and label, found tuple')])
def test_client_data_of_another_kind_is_refused(train, test, said):
  with pytest.raises(ValueError, match=said):
    tv.data.from_client_data(train, test)


class ByClient(Data):
  """Client data whose clients have the elements of `elements`, in batches of `batch`."""

  def __init__(self, elements, batch=None):
    super().__init__(elements, list(elements))
    self._batch = batch

  def create_tf_dataset_for_client(self, client):
    made = tf.data.Dataset.from_tensor_slices(self._elements[client])
    return made if self._batch is None else made.batch(self._batch)


def part(count):
  return {'pixels': X[:count], 'label': Y[:count]}


def test_clients_of_client_data_may_have_no_example():
  made = tv.data.from_client_data(ByClient({'a': part(6), 'b': part(0), 'c': part(5)}),
                                  ByClient({'a': part(0), 'c': part(2)}))
  assert made.train.sizes.tolist() == [6, 0, 5]
  assert [len(positions) for positions in made.test.clients] == [0, 0, 2] and made.test.examples.x.dtype == np.uint8


def test_batches_of_client_data_are_refused():
  with pytest.raises(ValueError, match=r'pixels of client a of the client data has several shapes, '
                     r'\[2, 8, 8\], \[4, 8, 8\]: .* without batches'):
    tv.data.from_client_data(ByClient({'a': part(6)}, batch=4), ByClient({'a': part(6)}))
