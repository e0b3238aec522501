"""Training on varied images: the same by hand, under every algorithm, in secure sums, and after a stop."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_federated as tff

import tff_vision as tv
from tests import tiny
from tff_vision import configs, experiment
from tff_vision.data import images
from tff_vision.learning import local_steps, optimizers

EVERYTHING = images.Augmentation(rotation=20, translation=0.1, scale=0.2, brightness=0.1, contrast=0.3, erasing=0.3,
                                 mixup=0.4)


def _varied(augmentation=EVERYTHING):
  task = tiny.task(tiny.two_layers, client_epochs=2)
  return dataclasses.replace(task, images=dataclasses.replace(task.images, preprocessing=images.Preprocessing(
      augmentation=augmentation)))


@pytest.mark.usefixtures('tff_runtime')
def test_steps_minimise_the_mean_of_both_losses():
  task = _varied()

  @tff.tensorflow.computation(task.weights_type,
                              tff.SequenceType(tff.types.tensorflow_to_type(task.batch_reader.element_spec)))
  def train(server_weights, dataset):
    optimizer = optimizers.CLIENT_OPTIMIZERS['sgd'](0.1, configs.ClientConfig())
    trained = local_steps.descend(task, optimizer, server_weights, dataset)
    return tuple(trained.weights), trained.metrics

  weights, measured = train(task.initial_weights(), task.client_dataset(0, 1))
  model, loss_of = task.keras_model(), task.loss_fn
  task.initial_weights().assign_weights_to(model)
  opened = task.batch_reader.open(task.client_dataset(0, 1))
  losses = right = 0.0
  for index in range(int(opened.num_batches)):
    x, y = opened.mixed_batch(index)
    with tf.GradientTape() as tape:
      logits = model(x)
      loss = y.share * loss_of(y.first, logits) + (1 - y.share) * loss_of(y.second, logits)
    losses += float(loss) * len(x)
    answers = logits.numpy().argmax(1)
    right += float(y.share * (answers == y.first.numpy()).sum() + (1 - y.share) * (answers == y.second.numpy()).sum())
    for weight, gradient in zip(model.trainable_weights, tape.gradient(loss, model.trainable_weights), strict=True):
      weight.assign_sub(0.1 * gradient)
  for mine, theirs in zip(weights, model.trainable_weights, strict=True):
    np.testing.assert_allclose(mine, theirs, atol=1e-5)
  assert float(measured['loss']) == pytest.approx(losses, rel=1e-4)
  assert float(measured['correct']) == pytest.approx(right, rel=1e-4)


def _experiment(augmentation=EVERYTHING, **parts):
  data = dataclasses.replace(tiny.federated_images(), preprocessing=images.Preprocessing(augmentation=augmentation))
  return tv.Experiment(tv.Task(data, model='linear'), participation=tv.Fixed(3), rounds=2, rounds_per_evaluation=2,
                       client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4), **parts)


def _trained(made, place):
  """Returns the weights after each of two rounds."""
  trainer = made.prepare(place)
  state, found = trainer.begin(), []
  for round_num in (1, 2):
    state = trainer.next(state, round_num, [0, 1, 3]).state
    found.append([np.asarray(weight) for weight in trainer.weights(state).trainable])
  return found


@pytest.mark.parametrize('algorithm', ['ditto', 'ifca', 'mime_lite'])
def test_algorithms_with_losses_of_their_own_take_mixed_images(algorithm, tff_runtime):
  found = _trained(_experiment(algorithm=algorithm), tff_runtime)
  assert all(np.isfinite(weight).all() for weights in found for weight in weights)


@pytest.mark.ci
def test_hidden_sums_see_the_same_variation_and_promises_keep_examples_apart(tff_runtime):
  in_the_open, again, hidden, plain = (_trained(made, tff_runtime)[-1] for made in (
      _experiment(), _experiment(), _experiment(secure_sum=tv.Masks()), _experiment(images.Augmentation())))
  for one, other, third in zip(in_the_open, again, hidden, strict=True):
    np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(one, third, atol=1e-3)
  assert not np.allclose(in_the_open[0], plain[0], atol=1e-3)
  promise = tv.ExampleDpSgd(clip_norm=1.0, noise_multiplier=1.0, delta=0.01)
  with pytest.raises(ValueError, match='every example by itself'):
    _experiment(privacy=promise).plan()
  private = _trained(_experiment(dataclasses.replace(EVERYTHING, mixup=0.0), privacy=promise), tff_runtime)
  assert np.isfinite(private[-1][0]).all()


def _weights(result):
  return [weight.numpy() for weight in result.model.weights]


@pytest.mark.ci
def test_a_stopped_run_goes_on_to_the_same_weights_and_its_page_shows_how_images_vary(tmp_path):
  config = configs.ExperimentConfig(
      data=configs.DataConfig(num_clients=4, augment_rotation=15.0, augment_mixup=0.3, augment_erasing=0.2),
      model=configs.ModelConfig(model='linear'), client=configs.ClientConfig(client_epochs=1),
      cohort=configs.CohortConfig(cohort_size=2), program=configs.ProgramConfig(rounds=2, rounds_per_evaluation=2))
  launch = lambda name, **more: configs.LaunchConfig(run_dir=str(tmp_path / name), **more)
  whole = experiment.run(config, launch('whole'))
  assert experiment.run(config, launch('stopped'), stop_requested=lambda: True).report is None
  resumed = experiment.run(config, launch('stopped', resume=True))
  for one, other in zip(_weights(whole), _weights(resumed), strict=True):
    np.testing.assert_array_equal(one, other)
  plain = experiment.run(dataclasses.replace(config, data=configs.DataConfig(num_clients=4)), launch('plain'))
  assert not np.allclose(_weights(whole)[0], _weights(plain)[0])
  assert 'rotated by up to 15 degrees' in whole.report['augmentation'] and 'augmentation' not in plain.report
  page = (tmp_path / 'whole' / 'report.html').read_text()
  assert page.count('training image, varied') == 28 and page.count('training image, as it is') == 4
  assert 'How training images vary' not in (tmp_path / 'plain' / 'report.html').read_text()
  masked = dataclasses.replace(config, secure=configs.SecureConfig(secure_sum='masks'))
  hidden = experiment.run(masked, launch('hidden'))
  page = (tmp_path / 'hidden' / 'report.html').read_text()
  assert hidden.report['augmentation'] in page and 'training image, varied' not in page
  # The exported model sees images as they are: pixels over 16, and then the only layer.
  x = experiment.from_config(config).images.test.examples.x[:5]
  kernel, bias = _weights(whole)
  scaled = x.reshape(5, -1) * np.float32(experiment.from_config(config).images.preprocessing.scale)
  np.testing.assert_allclose(whole.model(x.astype(np.float32)).numpy(), scaled @ kernel + bias, atol=1e-4)
