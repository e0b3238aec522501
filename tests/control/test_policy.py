"""The policy gradient against arithmetic on paper and against numpy."""

import numpy as np
import tensorflow as tf

from tff_vision.studies.control import control_config, policy


def test_returns_are_discounted_sums_of_what_follows():
  found = policy.returns(tf.constant([[0.0, 1.0], [0.0, 0.0], [1.0, 2.0]]), 0.5)
  np.testing.assert_allclose(found, [[0.25, 1.5], [0.5, 1.0], [1.0, 2.0]])


def test_an_action_is_the_one_in_whose_share_the_choice_falls():
  logits = tf.math.log(tf.constant([[0.2, 0.5, 0.3]] * 4))
  np.testing.assert_array_equal(policy.draw_action(logits, tf.constant([0.1, 0.21, 0.69, 0.71])), [0, 1, 1, 2])


def test_the_gradient_is_that_of_the_policy_gradient_theorem():
  rng = np.random.default_rng(0)
  outputs, actions, reached = rng.normal(size=(5, 4)).astype(np.float32), np.array([0, 2, 1, 1, 0]), rng.normal(size=5)
  config = control_config.ControlConfig(value_weight=0.25, entropy_weight=0.1)
  variable = tf.Variable(outputs)
  with tf.GradientTape() as tape:
    loss = policy.loss(variable, tf.constant(actions, tf.int32), tf.constant(reached, tf.float32), config)
  p = np.exp(outputs[:, :3]) / np.exp(outputs[:, :3]).sum(axis=1, keepdims=True)
  advantage = reached - outputs[:, 3]
  entropy = -(p * np.log(p)).sum(axis=1)
  of_logits = -advantage[:, None] * (np.eye(3)[actions] - p) + 0.1 * p * (np.log(p) + entropy[:, None])
  expected = np.concatenate([of_logits, -2 * 0.25 * advantage[:, None]], axis=1) / 5
  np.testing.assert_allclose(tape.gradient(loss, variable), expected, atol=1e-6)
  assert abs(float(loss) - np.mean(-np.log(p[np.arange(5), actions]) * advantage + 0.25 * advantage**2
                                   - 0.1 * entropy)) < 1e-6
