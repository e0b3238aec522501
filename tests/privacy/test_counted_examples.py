"""Clients train on as many examples as the ledger counts, and their pixels alone determine nothing that is told."""

import dataclasses

import numpy as np
import pytest
from PIL import Image

import tff_vision as tv
from tff_vision import configs
from tff_vision.data import attacked
from tff_vision.data import images as images_lib
from tff_vision.studies.hospitals import features


class Says(images_lib.ClientImages):
  """Clients of one's own, which say that each has so many examples."""

  def __init__(self, inner, number, client_ids=None, examples=None):
    self._inner, self._number = inner, number
    self._client_ids, self._examples = client_ids or inner.client_ids, examples

  @property
  def client_ids(self):
    return self._client_ids

  def num_examples(self, client):
    return self._number

  def examples(self, client):
    return self._inner.examples(client) if self._examples is None else self._examples


def config_of(folder, **data):
  return configs.ExperimentConfig(
      data=configs.DataConfig(dataset='folder', data_dir=str(folder), partition='iid', num_clients=2, **data),
      model=configs.ModelConfig(model='linear'), cohort=configs.CohortConfig(cohort_size=2),
      privacy=configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0))


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


def test_neither_do_clients_within_others_give_other_examples_than_they_say():
  images = tv.testing.tiny_images()
  within = attacked.AttackedClients(Says(images.train, 500), (0,), lambda examples: examples)
  with tv.open_runtime() as place:
    training = experiment(dataclasses.replace(images, train=within), **PRIVATE).prepare(place)
    with pytest.raises(ValueError, match='client c0 .* has 12 examples in round 1, and is said to have 500'):
      training.next(training.begin(), 1)


@pytest.mark.parametrize(('says', 'said'), [
    ({'client_ids': ['a', 'a', 'b', 'c']}, "has 4 clients, of which some have one name, 'a'"),
    ({'number': -6}, r'client c0 of dataset=tiny says that it has -6 examples \(num_examples\)'),
    ({'number': 0}, 'no client of dataset=tiny has an example')])
def test_clients_of_whom_nobody_could_say_what_is_promised_are_refused(says, said):
  images = tv.testing.tiny_images()
  with pytest.raises(ValueError, match=said):
    experiment(dataclasses.replace(images, train=Says(images.train, **{'number': 12, **says})), **PRIVATE).ledger()


@pytest.mark.parametrize(('given', 'said'), [
    (images_lib.Examples(np.zeros((6, 9, 8, 1), np.uint8), np.zeros(6, np.int32)), r'the shape \[9, 8, 1\]'),
    (images_lib.Examples(np.zeros((6, 8, 8, 1), np.float32), np.zeros(6, np.int32)), 'pixels of float32'),
    (images_lib.Examples(np.zeros((6, 8, 8, 1), np.uint8), np.zeros(6, np.float32)), 'labels of float32'),
    (images_lib.Examples(np.zeros((6, 8, 8, 1), np.uint8), np.full(6, 7, np.int32)), 'labels outside of 0..2'),
    ((np.zeros((6, 8, 8, 1), np.uint8), np.zeros(6, np.int32)), 'the type tuple')])
def test_examples_of_another_kind_are_refused_before_an_executor_tells_what_they_hold(given, said):
  images = tv.testing.tiny_images()
  says = dataclasses.replace(images, train=Says(images.train, 6, examples=given))
  planned = experiment(says, **PRIVATE).plan()
  with pytest.raises(ValueError, match=f'client c0 of dataset=tiny has examples of another kind .* they have {said}'):
    planned.task.client_dataset(0, round_num=1)


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


def test_a_private_training_takes_no_images_that_tell_more_than_its_own():
  def images(kind=np.uint8, **parts):
    x, y = (np.arange(6 * 64).reshape(6, 8, 8) % 2).astype(kind), np.arange(6) % 3
    return tv.data.from_arrays({'a': (x, y), 'b': (x, y)}, class_names=('x', 'y', 'z'), **{'test': (x, y), **parts})
  with tv.open_runtime() as place:
    training = tv.Experiment(tv.Task(images(), model='linear'), participation=tv.Fixed(2), rounds=1,
                             **PRIVATE).prepare(place)
    assert training.with_images(images()).task.images.spec == training.task.images.spec
    with pytest.raises(ValueError, match='range only the clients\' own images tell'):
      training.with_images(images(test=None))
    with pytest.raises(ValueError, match='with_images: the process was built for images of another kind'):
      training.with_images(images(np.float32))


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
    with pytest.raises(ValueError, match='whose range only the clients\' own images tell'):
      ledger(**PRIVATE)
  else:
    assert ledger(**PRIVATE).epsilon > 0


def test_neither_a_name_nor_clients_within_others_hide_where_a_range_is_from():
  def pixels(*ends):
    return np.linspace(*ends, 6 * 64, dtype=np.float32).reshape(6, 8, 8), np.arange(6) % 3

  given = tv.data.from_arrays({'a': pixels(0.0, 1.0), 'b': pixels(-1.0, 1.0)}, test=pixels(0.0, 1.0),
                              class_names=('x', 'y', 'z'), name='synthetic_of_ones_own')
  within = dataclasses.replace(given, train=attacked.AttackedClients(given.train, (0,), lambda examples: examples))
  for images in (given, within):
    with pytest.raises(ValueError, match='whose range only the clients\' own images tell'):
      tv.Experiment(tv.Task(images, model='linear'), participation=tv.Fixed(2), rounds=1, **PRIVATE).ledger()


@pytest.mark.parametrize(('client', 'test', 'refused'), [
    (1, 1, False), (255, 255, False), (255, None, False), (1, None, True), (1, 0, True), (1, 255, False),
    (255, 1, True)])
def test_whole_numbers_of_0_and_1_are_white_under_a_promise_only_if_test_images_say_so(client, test, refused):
  def pixels(high, kind=np.uint8):
    return (np.arange(6 * 64).reshape(6, 8, 8) % 2 * high).astype(kind), np.arange(6) % 3

  def ledger(**parts):
    images = tv.data.from_arrays({'a': pixels(1), 'b': pixels(client)}, test=None if test is None else pixels(test),
                                 class_names=('x', 'y', 'z'), **parts)
    return tv.Experiment(tv.Task(images, model='linear'), participation=tv.Fixed(2), rounds=1, **PRIVATE).ledger()

  if refused:
    with pytest.raises(ValueError, match='whole numbers whose range only the clients\' own images tell'):
      ledger()
  else:
    assert ledger().epsilon > 0
  assert ledger(pixel_range=(0, 255)).epsilon > 0  # It is said.


def test_the_type_of_bool_arrays_tells_their_white_whatever_clients_hold():
  y = np.arange(6) % 3
  for black in (np.zeros((6, 8, 8), bool), np.arange(6 * 64).reshape(6, 8, 8) % 2 == 0):
    images = tv.data.from_arrays({'a': (black, y), 'b': (black, y)}, test=None, class_names=('x', 'y', 'z'))
    assert not images.range_told_by_clients and images.train.pool.x.max() == 255 * black.max()
  with pytest.raises(ValueError, match='client b has images .* of uint8, client a .* of bool'):
    tv.data.from_arrays({'a': (black, y), 'b': (black.astype(np.uint8), y)}, test=None)


def test_features_of_films_have_no_range_that_a_model_s_files_tell():
  films = np.random.default_rng(0).integers(0, 256, (6, 28, 28)).astype(np.uint8), np.arange(6) % 3
  images = tv.data.from_arrays({'a': films, 'b': films}, test=films, class_names=('x', 'y', 'z'), name='films')
  featured, _ = features.trained_part(images, 'scattering')
  assert featured.spec.dtype == np.float32 and featured.test.examples.x.min() < -1
  assert not featured.range_told_by_clients and not featured.deduced
  ones, black = ((films[0] % 2 * factor, films[1]) for factor in (1, 0))
  told, _ = features.trained_part(tv.data.from_arrays({'a': ones}, test=black), 'scattering')
  assert told.deduced == ['the range of pixels: say it (pixel_range)']


@pytest.mark.parametrize(('test', 'refused'), [(3000, False), (200, True)])
def test_the_depth_of_image_files_is_no_secret_only_if_test_images_have_it(test, refused, tmp_path):
  for split, label, high in (('train', 'a', 3000), ('train', 'b', 900), ('test', 'a', test), ('test', 'b', 100)):
    for number in range(4):
      path = tmp_path / split / label / f'{number}.png'
      path.parent.mkdir(parents=True, exist_ok=True)
      Image.fromarray(np.full((8, 8), high - number, np.uint16)).save(path)
  settings = {'data': configs.DataConfig(dataset='folder', data_dir=str(tmp_path), partition='iid', num_clients=2),
              'model': configs.ModelConfig(model='linear'), 'cohort': configs.CohortConfig(cohort_size=2)}
  private = configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1.0, noise_multiplier=1.0)
  ledger = lambda **more: tv.Experiment.from_config(configs.ExperimentConfig(**settings, **more)).ledger()
  assert ledger().epsilon == np.inf
  if refused:
    with pytest.raises(ValueError, match='whose range only the clients\' own images tell'):
      ledger(privacy=private)
  else:
    assert ledger(privacy=private).epsilon > 0


@pytest.mark.parametrize(('first', 'test', 'more', 'refused'), [
    ((8, 8), (8, 8), {}, ''), ((9, 8), (8, 8), {}, 'brought to 8x9x1: say it .image_size, image_channels.'),
    ((9, 8), (8, 8), {'image_size': 8}, '')])
def test_the_shape_of_a_client_s_image_is_told_only_if_a_test_image_has_it(first, test, more, refused, tmp_path):
  for split, sizes in (('train', [first, (8, 8), (8, 8)]), ('val', [test, (8, 8)])):  # In this order.
    for label in 'ab':
      for number, size in enumerate(sizes):
        path = tmp_path / split / label / f'{number}.png'
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full(size[::-1], 100 + number, np.uint8)).save(path)
  made = tv.Experiment.from_config(config_of(tmp_path, **more))
  if refused:
    with pytest.raises(ValueError, match=f'only the clients\' own images tell, and the model would, that .* {refused}'):
      made.ledger()
  else:
    assert made.ledger().epsilon > 0


@pytest.mark.parametrize(('tested', 'more', 'refused'), [
    ('a|b', {}, False), ('a', {}, True), ('a', {'finding_separator': '|'}, False)])
def test_that_labels_are_findings_is_told_only_if_test_labels_say_so(tested, more, refused, tmp_path):
  lines = ['path,label,split']
  for number, (label, split) in enumerate([('a|b', 'train'), ('a', 'train'), ('b', 'train'), ('a', 'train'),
                                           (tested, 'test'), ('b', 'test')]):
    Image.fromarray(np.full((8, 8), 100 + number, np.uint8)).save(tmp_path / f'{number}.png')
    lines.append(f'{number}.png,{label},{split}')
  (tmp_path / 'manifest.csv').write_text('\n'.join(lines))
  made = tv.Experiment.from_config(config_of(tmp_path, **more))
  if refused:
    with pytest.raises(ValueError, match=r'and the model would, that labels with \| inside are several'):
      made.ledger()
  else:
    assert made.ledger().epsilon > 0


def test_how_classes_are_spelled_follows_from_clients_labels_under_no_promise(tmp_path):
  lines = ['path,label,split']
  for number, (label, split) in enumerate([('Left', 'train'), ('left', 'train'), ('b', 'train'), ('b', 'train'),
                                           ('left', 'test'), ('b', 'test')]):
    Image.fromarray(np.full((8, 8), 100 + number, np.uint8)).save(tmp_path / f'{number}.png')
    lines.append(f'{number}.png,{label},{split}')
  (tmp_path / 'manifest.csv').write_text('\n'.join(lines))
  made = config_of(tmp_path, label_case='merge')
  with pytest.raises(ValueError, match='label_case=merge does not go with privacy=example_dp_sgd: how the names'):
    tv.Experiment.from_config(made).ledger()
  open_ = dataclasses.replace(made, privacy=configs.PrivacyConfig())
  assert tv.Experiment.from_config(open_).ledger().epsilon == np.inf
