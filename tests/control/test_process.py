"""One federated round of play against the same updates made on the driver, in the clear and under masks."""

import dataclasses

import numpy as np
import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import configs
from tff_vision.studies.control import catch, control_config, policy_process

CONFIG = dataclasses.replace(
    control_config.ControlExperiment(), model=configs.ModelConfig(model='linear'),
    client=configs.ClientConfig(client_learning_rate=0.1, client_epochs=2, batch_size=5, client_weight_decay=0.01))


def _by_hand(player, start, environment, client):
  """Returns a client's model after two steps of plain SGD on the driver."""
  model = player.keras_model()
  model.set_weights(start)
  (element,) = player.request(environment, client, 1)
  for update in range(2):
    gradients, _ = player.gradient(model, model.trainable_variables, element['environment'],
                                   element['seed'] + tf.constant([0, 16 * update], tf.int64))
    for weight, gradient in zip(model.trainable_variables, gradients, strict=True):
      weight.assign(weight - 0.1 * (gradient + 0.01 * weight))
  return model.get_weights()


def test_a_round_is_the_mean_of_what_clients_learn_by_playing(tff_runtime):
  player = policy_process.Player(CONFIG)
  environments = catch.draw_environments(2, wind=0.5, seed=0)
  model = player.keras_model()
  start, weights = tff.learning.models.ModelWeights.from_model(model), model.get_weights()
  each = [_by_hand(player, weights, environment, i) for i, environment in enumerate(environments)]
  for mode, tolerance in (('none', 1e-5), ('masks', 1e-3)):
    hidden = configs.SecureConfig(secure_sum=mode, **({'secure_clients_max': 4, 'secure_bits': 20, 'secure_range': 1.0}
                                                      if mode == 'masks' else {}))
    game = dataclasses.replace(policy_process.Game(player, environments).experiment(), secure_sum=hidden,
                               participation=configs.CohortConfig(cohort_size=2))
    made = game.prepare(tff_runtime)
    state = made.process.set_model_weights(made.begin(), start)
    output = made.next(state, 1)
    after = made.weights(output.state).trainable
    for found, first, second in zip(after, *each, strict=True):
      np.testing.assert_allclose(found, (first + second) / 2, atol=tolerance)
    if mode == 'none':
      again = made.weights(made.next(state, 1, [0, 1]).state).trainable
      assert all(np.array_equal(one, other) for one, other in zip(after, again, strict=True))
      nobody = made.next(state, 1, [])
      assert nobody.metrics['client_work']['train']['catch_rate'] == 0
      assert np.array_equal(made.weights(nobody.state).trainable[0], weights[0])
      assert 0 <= output.metrics['client_work']['train']['catch_rate'] <= 1
      assert np.isfinite(output.metrics['client_work']['train']['loss'])
