"""The examples are what they say: files of at most 40 lines that keep the contract and follow their papers."""

import pathlib

import numpy as np
import pytest
import tensorflow as tf

import tff_vision as tv
from examples import fedlc, focal_loss, moon

FOLDER = pathlib.Path(__file__).parents[2] / 'examples'


@pytest.mark.parametrize('path', sorted(FOLDER.glob('[a-z]*.py')), ids=lambda path: path.stem)
def test_an_example_is_one_short_file(path):
  assert len(path.read_text().splitlines()) <= 40


@pytest.mark.ci
@pytest.mark.parametrize('algorithm', [fedlc.FedLC(), moon.Moon()], ids=['fedlc', 'moon'])
def test_an_algorithm_keeps_the_contract(algorithm):
  tv.testing.check_algorithm(algorithm)


def test_focal_loss_by_hand():
  logits = np.log(np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]], np.float32))
  right = np.array([0.7, 0.3])
  expected = (1 - right)**1.5 * -np.log(right)
  np.testing.assert_allclose(focal_loss.FocalLoss(1.5)([0, 1], logits).numpy(), expected.mean(), rtol=1e-5)
  tv.testing.check_loss(focal_loss.FocalLoss(1.5))


def test_focal_loss_of_gamma_zero_is_cross_entropy():
  rng = np.random.default_rng(0)
  y, logits = rng.integers(0, 3, 20), rng.normal(size=(20, 3)).astype(np.float32)
  usual = tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True)
  np.testing.assert_allclose(focal_loss.FocalLoss(0.0)(y, logits), usual(y, logits), rtol=1e-5)


@pytest.mark.ci
def test_fedlc_without_margin_and_moon_without_contrast_are_fedavg(tmp_path):
  def weights(name, algorithm):
    made = tv.Experiment(tv.Task(tv.testing.tiny_images(), model='linear'), algorithm=algorithm, rounds=2,
                         participation=tv.Fixed(3), client=tv.Client(tv.sgd(0.05), epochs=1, batch_size=4))
    return made.run(tmp_path / name).model.get_weights()

  plain = weights('plain', 'fedavg')
  for name, algorithm in ('fedlc', fedlc.FedLC(tau=0.0)), ('moon', moon.Moon(mu=0.0)):
    for ours, theirs in zip(weights(name, algorithm), plain, strict=True):
      np.testing.assert_allclose(ours, theirs, atol=1e-6)
  with_margin = weights('margin', fedlc.FedLC(tau=1.0))
  assert not np.allclose(with_margin[0], plain[0], atol=1e-4)
