"""Plays episodes with a policy and computes its gradient: advantage actor-critic.

REINFORCE with a learned baseline: Williams, "Simple Statistical Gradient-Following Algorithms for Connectionist
Reinforcement Learning", Machine Learning 8, 1992; Sutton and Barto, "Reinforcement Learning", 2nd edition, 2018,
section 13.4. A model's first outputs are the actions' logits, its last one is the critic's value of the state.
"""

import dataclasses
from collections.abc import Callable

import tensorflow as tf

from tff_vision.studies.control import catch, control_config

NUM_OUTPUTS = catch.ACTIONS + 1
# From images [batch, SIDE, SIDE, 2] to outputs [batch, NUM_OUTPUTS].
Model = Callable[[tf.Tensor], tf.Tensor]


@dataclasses.dataclass(frozen=True)
class Played:
  """A batch of episodes, one row per step.

  Attributes:
    images: [STEPS, batch, SIDE, SIDE, 2].
    actions: int32 [STEPS, batch].
    rewards: [STEPS, batch].
  """
  images: tf.Tensor
  actions: tf.Tensor
  rewards: tf.Tensor


def play(model: Model, environment: tf.Tensor, chance: catch.Chance, *, greedy: bool = False) -> Played:
  """Plays a batch of episodes; runs on the client, or on the driver to evaluate.

  Args:
    environment: `Environment.as_vector`.
    greedy: Whether to take the most likely action instead of drawing one.
  """
  state = catch.reset(environment, chance)
  images, actions, rewards = [], [], []
  for t in range(catch.STEPS):  # Unrolled: an episode is short.
    image, state = catch.look(environment, state, chance.noise[t])
    logits = model(image)[:, :catch.ACTIONS]
    action = tf.argmax(logits, axis=1, output_type=tf.int32) if greedy else draw_action(logits, chance.choices[t])
    state, reward = catch.step(environment, state, action, chance.gusts[t])
    images.append(image)
    actions.append(action)
    rewards.append(reward)
  return Played(tf.stack(images), tf.stack(actions), tf.stack(rewards))


def draw_action(logits: tf.Tensor, choice: tf.Tensor) -> tf.Tensor:
  """Returns actions, int32 [batch], drawn from softmax(logits): each has a part of 0..1, and `choice` selects one."""
  below = tf.cumsum(tf.nn.softmax(logits), axis=1)[:, :-1]
  return tf.reduce_sum(tf.cast(choice[:, None] >= below, tf.int32), axis=1)


def catch_rate(played: Played) -> tf.Tensor:
  """Returns the share of balls that were caught, float32 []."""
  return tf.reduce_mean(tf.reduce_sum(played.rewards, axis=0))


def returns(rewards: tf.Tensor, discount: float) -> tf.Tensor:
  """Returns [STEPS, batch]: the reward of each step plus the discounted rewards of all later steps."""
  ahead, summed = tf.zeros_like(rewards[0]), []
  for reward in reversed(tf.unstack(rewards)):
    ahead = reward + discount * ahead
    summed.append(ahead)
  return tf.stack(summed[::-1])


def loss(outputs: tf.Tensor, actions: tf.Tensor, reached: tf.Tensor, config: control_config.ControlConfig) -> tf.Tensor:
  """Returns the mean over steps of -log pi(a|s) (R - V(s)) + value_weight (R - V(s))^2 - entropy_weight H(pi).

  Args:
    outputs: [n, NUM_OUTPUTS], the model's outputs, one row per step.
    actions: int32 [n], the actions taken.
    reached: [n], the returns R from each step on.
  """
  log_policy = tf.nn.log_softmax(outputs[:, :catch.ACTIONS])
  missed = reached - outputs[:, catch.ACTIONS]
  taken = tf.gather(log_policy, actions, batch_dims=1)
  entropy = -tf.reduce_sum(tf.exp(log_policy) * log_policy, axis=1)
  return tf.reduce_mean(-taken * tf.stop_gradient(missed) + config.value_weight * tf.square(missed)
                        - config.entropy_weight * entropy)
