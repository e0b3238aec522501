"""Masks and boxes with everything that trains, hides and protects: it goes together, or is refused in a sentence."""

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from tests.learning.tiny_experiments import flat
from tff_vision import catalogue, configs, labels
from tff_vision.data import images

SIDE, DEPTH, RATE = 8, 4, 0.1
COHORT = [0, 1, 3]
_layers = tf.keras.layers


def _per_pixel(input_shape, num_classes):
  return tf.keras.Sequential([_layers.Input(input_shape), _layers.Conv2D(3, 3, padding='same', activation='relu'),
                              _layers.Conv2D(num_classes, 1)], name='per_pixel')


def _per_voxel(input_shape, num_classes):
  return tf.keras.Sequential([
      _layers.Input(input_shape), _layers.Reshape((*input_shape, 1)),
      _layers.Conv3D(2, 3, padding='same', activation='relu'), _layers.Conv3D(num_classes, 1)], name='per_voxel')


def _per_cell(input_shape, num_outputs):
  return tf.keras.Sequential([_layers.Input(input_shape), _layers.Conv2D(4, 3, 2, padding='same', activation='relu'),
                              _layers.Conv2D(num_outputs, 1)], name='per_cell')


def _with_norm(build):
  """Returns the builder of the same model with a layer that normalises, for what keeps such layers at clients."""
  def built(input_shape, num_outputs):
    *body, head = build(input_shape, num_outputs).layers
    return tf.keras.Sequential([_layers.Input(input_shape), *body, _layers.GroupNormalization(1), head], name='normed')
  return built


BUILDERS = {'masks': _per_pixel, 'volumes': _per_voxel, 'boxes': _per_cell}


def _examples(kind, count, seed=0):
  rng = np.random.default_rng(seed)
  shape = (count, SIDE, SIDE, DEPTH) if kind == 'volumes' else (count, SIDE, SIDE, 1)
  y = rng.integers(0, 3, shape).astype(np.uint8)
  y[0, :3] = labels.IGNORED
  x = np.clip(60 * y.astype(int) + rng.integers(0, 30, shape), 0, 255).astype(np.uint8)
  if kind == 'masks':
    y = y[..., 0]
  if kind == 'boxes':
    y = labels.no_boxes(count, 3)
    for row in y[1:]:  # The first image has no object.
      top, left = rng.uniform(0, 0.5, 2)
      row[0] = top, left, top + 0.4, left + 0.3, rng.integers(0, 2)
  return images.Examples(x, y)


def _images(kind, sizes=(4, 6, 3, 5)):
  pool = _examples(kind, sum(sizes))
  parts = np.split(np.arange(sum(sizes)), np.cumsum(sizes)[:-1])
  return images.FederatedImages(
      name=kind, class_names=('car', 'sign') if kind == 'boxes' else ('background', 'disc', 'bar'),
      train=images.ArrayClients(pool, parts, [f'c{i}' for i in range(len(sizes))]),
      test=images.HeldOut(examples=pool, clients=parts))


def _experiment(kind, algorithm='fedavg', **parts):
  late = {'over_selection': 1.5} if algorithm == 'fedbuff' else {}
  settings = {'participation': configs.CohortConfig(cohort_size=2 if late else 3, **late),
              'client': configs.ClientConfig(batch_size=2, client_learning_rate=RATE,
                                             client_epochs=1 if algorithm == 'fedsgd' else 2)}
  objective = configs.TaskConfig(task='detection' if kind == 'boxes' else 'segmentation')
  model = _with_norm(BUILDERS[kind]) if algorithm == 'fedbn' else BUILDERS[kind]
  return tv.Experiment(tv.Task(_images(kind), model=model, objective=objective), seed=5, rounds=2,
                       algorithm=configs.AlgorithmConfig(algorithm=algorithm), **settings | parts)


def _trained(made, place=None):
  """Returns how far two rounds move the model, as one vector."""
  trainer = made.prepare(place)
  state = trainer.begin()
  before = flat(trainer.weights(state).trainable)
  for round_num in (1, 2):
    output = trainer.next(state, round_num, COHORT)
    state = output.state
  moved = flat(trainer.weights(state).trainable) - before
  assert np.isfinite(moved).all()
  # Of the models of ifca, the first may be nobody's choice.
  assert np.abs(moved).max() > 1e-4 or made.algorithm.algorithm == 'ifca'
  return moved


def _by_hand(task):
  """Returns the same for FedAvg, from gradients that Keras takes of the task's loss."""
  model, weights = task.keras_model(), task.initial_weights().trainable
  start, sizes = flat(weights), [task.images.train.num_examples(client) for client in COHORT]
  for round_num in (1, 2):
    trained = []
    for client in COHORT:
      for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
      for x, y in task.client_batches(client, round_num):
        with tf.GradientTape() as tape:
          loss = task.loss_fn(y, model(x, training=True))
        slopes = tape.gradient(loss, model.trainable_variables)
        for variable, slope in zip(model.trainable_variables, slopes, strict=True):
          variable.assign_sub(RATE * slope)
      trained.append([variable.numpy() for variable in model.trainable_variables])
    weights = [np.average(parts, axis=0, weights=sizes) for parts in zip(*trained, strict=True)]
  return flat(weights) - start


@pytest.fixture(scope='module')
def plain(tff_runtime):
  """FedAvg in the clear, by kind of label."""
  found = {}
  for kind in BUILDERS:
    made = _experiment(kind)
    found[kind] = _trained(made)
    np.testing.assert_allclose(found[kind], _by_hand(made.plan().task), atol=1e-4)
  return found


@pytest.mark.parametrize('kind', BUILDERS)
def test_sums_behind_masks_are_those_in_the_clear(kind, plain):
  hidden = configs.SecureConfig(secure_sum='masks', secure_clients_max=4, secure_bits=20, secure_range=4.0)
  np.testing.assert_allclose(_trained(_experiment(kind, secure_sum=hidden)), plain[kind], atol=1e-3)


@pytest.mark.ci
@pytest.mark.parametrize('kind, algorithm', [
    *((kind, name) for kind in ('masks', 'boxes') for name in catalogue.names('algorithm')
      if name not in ('fedavg', 'fedbuff')),
    ('volumes', 'scaffold'), ('volumes', 'fedbn')])  # Volumes are masks with more channels.
def test_every_algorithm_trains(kind, algorithm, tff_runtime):
  _trained(_experiment(kind, algorithm))


@pytest.mark.ci
@pytest.mark.parametrize('kind', ['masks', 'boxes'])
def test_late_updates_and_what_a_run_leaves(kind, tmp_path):
  done = _experiment(kind, 'fedbuff').run(tmp_path / 'run')
  assert np.isfinite(done.report['evaluation']['loss']) and done.report['export_parity'] < 1e-3


@pytest.mark.ci
@pytest.mark.parametrize(('kind', 'mode'), [('masks', 'he'), ('boxes', 'he_keyholder')])
def test_encrypted_sums_are_those_in_the_clear(kind, mode, plain, tff_runtime, tmp_path):
  hidden = configs.SecureConfig(secure_sum=mode, secure_clients_max=4, secure_bits=20, secure_range=4.0,
                                key_holder_dir=str(tmp_path / 'keys') if mode == 'he_keyholder' else None)
  np.testing.assert_allclose(_trained(_experiment(kind, secure_sum=hidden), tff_runtime), plain[kind], atol=1e-3)


@pytest.mark.ci
@pytest.mark.parametrize('kind', ['volumes', 'boxes'])
@pytest.mark.parametrize('compression', [name for name in catalogue.names('compression') if name != 'none'])
def test_every_compression_is_near_the_uncompressed(kind, compression, plain):
  most = {'top_k_fraction': 1.0} if compression == 'top_k' else {'compression_bits': 16}
  made = _experiment(kind, aggregator=configs.AggregationConfig(compression=compression, **most))
  np.testing.assert_allclose(_trained(made), plain[kind], atol=0.02 * np.abs(plain[kind]).max())


_MASKS = {'secure_sum': configs.SecureConfig(secure_sum='masks', secure_clients_max=4)}
_POISSON, _IN_TURN = ({'participation': configs.CohortConfig(sampling=sampling, cohort_size=3)}
                      for sampling in ('poisson', 'round_robin'))


@pytest.mark.ci
@pytest.mark.parametrize(('kind', 'privacy', 'parts'), [
    ('volumes', 'client_gaussian', _POISSON), ('boxes', 'client_adaptive', _POISSON), ('masks', 'dp_ftrl', _IN_TURN),
    ('boxes', 'dp_mf', _IN_TURN), ('masks', 'local_dp', {}), ('boxes', 'distributed_gaussian', _MASKS),
    ('masks', 'distributed_skellam', _MASKS), ('masks', 'example_dp_sgd', {}), ('volumes', 'example_dp_sgd', {}),
    ('boxes', 'example_dp_sgd', {})])
def test_promises_to_clients_and_examples(kind, privacy, parts, tff_runtime):
  more = {'count_stddev': 0.5} if privacy == 'client_adaptive' else {}
  made = _experiment(kind, privacy=configs.PrivacyConfig(privacy=privacy, clip_norm=0.5, noise_multiplier=0.3,
                                                        delta=1e-3, **more), **parts)
  _trained(made)
  assert 0 < made.ledger().epsilon < np.inf


@pytest.mark.parametrize(('kind', 'parts', 'said'), [
    ('boxes', {'privacy': configs.PrivacyConfig(privacy='client_gaussian', clip_norm=1, noise_multiplier=1,
                                                metrics_noise_multiplier=1)}, 'metrics_noise_multiplier'),
    ('boxes', {'privacy': configs.PrivacyConfig(privacy='example_dp_sgd', clip_norm=1, noise_multiplier=1,
                                                example_shift=1, example_copies=2)}, 'without their boxes'),
    ('volumes', {'attack': configs.AttackConfig(attack='backdoor_patch', attack_fraction=0.5)}, 'labels .* are masks')])
def test_what_means_nothing_for_masks_and_boxes_is_refused(kind, parts, said, tff_runtime):
  if 'privacy' in parts and parts['privacy'].privacy == 'client_gaussian':
    parts = parts | {'participation': configs.CohortConfig(sampling='poisson', cohort_size=3)}
  with pytest.raises(ValueError, match=said):
    _experiment(kind, **parts).prepare()


def test_labels_of_volumes_are_flipped_like_those_of_images(tff_runtime):
  made = _experiment('volumes', attack=configs.AttackConfig(attack='label_flip', attack_fraction=0.5))
  now, before = made.plan().task.images.train, _images('volumes').train
  flipped = [not np.array_equal(now.examples(client).y, before.examples(client).y) for client in range(4)]
  assert sum(flipped) == 2
  for client in np.flatnonzero(flipped):
    y = before.examples(client).y
    assert np.array_equal(now.examples(client).y, np.where(y == labels.IGNORED, y, 2 - y))
