"""From environments to a TFF learning process: clients play and learn, the server averages their policies.

FedAvg of actor-critic updates; compare Qi et al., "Federated Reinforcement Learning: Techniques, Applications, and Open
Challenges", 2021, arXiv:2108.11887, section 3. The server's step and the aggregation are the same as for images.
"""

import collections
import dataclasses
import functools
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_federated as tff

from tff_vision import experiment, models, passes, protocols, seeds, tasks, told
from tff_vision.learning import local_training, optimizers
from tff_vision.models import blank, check, replayable
from tff_vision.studies.control import catch, control_config, policy

ELEMENT_SPEC = collections.OrderedDict(environment=tf.TensorSpec([4], tf.float32), seed=tf.TensorSpec([2], tf.int64))


@dataclasses.dataclass(frozen=True)
class Player:
  """The policy that is trained, and the training on a client."""
  config: control_config.ControlExperiment

  def __post_init__(self):
    check.check(self.keras_model(), input_shape=catch.IMAGE_SHAPE,
                output_shape=(policy.NUM_OUTPUTS,))

  def keras_model(self) -> tf.keras.Model:
    """Returns a fresh model with arbitrary weights."""
    return models.MODELS[self.config.model.model](catch.IMAGE_SHAPE, policy.NUM_OUTPUTS)

  def client_model(self) -> tf.keras.Model:
    """Returns a model for a client's computation, whose weights are zero until they are assigned."""
    return blank.blank_model(lambda: replayable.with_replayable_dropout(self.keras_model))

  @functools.cached_property
  def weights_type(self) -> tff.StructType:
    """The TFF type of the model's weights."""
    return tff.tensorflow.computation(
        lambda: tff.learning.models.ModelWeights.from_model(self.keras_model())).type_signature.result

  def request(self, environment: catch.Environment, client: int, round_num: int) -> tf.data.Dataset:
    """Returns the process's input for a client in a round: a pure function of (seed, client, round)."""
    seed = seeds.derive(self.config.program.seed, 'play', client, round_num)
    return tf.data.Dataset.from_tensors(collections.OrderedDict(
        environment=environment.as_vector(), seed=tf.constant([seed, 0], tf.int64)))

  def learn(self, weights: tff.learning.models.ModelWeights,
            data: tf.data.Dataset) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Plays and learns for one round; runs inside a `tff.tensorflow.computation` on the client.

    Returns:
      The weights before training minus those after, with TFF's sign; and float32 [2], the mean of `gradient`'s second
      result over all updates.
    """
    model, local = self.client_model(), local_training.LocalOptimization(client=self.config.client)
    own = tff.learning.models.ModelWeights.from_model(model)
    trainable, optimizer = list(own.trainable), local.optimizer(self.config.client.client_learning_rate)

    @tf.function
    def run(weights, data):
      for weight, value in zip([*trainable, *own.non_trainable], [*weights.trainable, *weights.non_trainable],
                               strict=True):
        weight.assign(value)
      element, state = data.get_single_element(), optimizers.initial_state(optimizer, trainable)
      measured = tf.zeros([2])
      for update in tf.range(self.config.client.client_epochs):
        seed = element['seed'] + tf.stack([tf.constant(0, tf.int64), tf.cast(update, tf.int64) * 16])
        gradients, found = self.gradient(model, trainable, element['environment'], seed)
        state = optimizers.step_in_place(optimizer, state, trainable, local.change(gradients, trainable))
        measured += found / self.config.client.client_epochs
      return [before - after.read_value() for before, after in zip(weights.trainable, trainable, strict=True)], measured

    return run(weights, data)

  def gradient(self, model: tf.keras.Model, trainable: list[tf.Variable], environment: tf.Tensor, seed: tf.Tensor
               ) -> tuple[list[tf.Tensor], tf.Tensor]:
    """Plays a batch of episodes.

    Returns:
      The gradient of `policy.loss` over these episodes; and float32 [2], the loss and the share of balls caught.
    """
    played = policy.play(model, environment, catch.draw_chance(self.config.client.batch_size, seed))
    reached = tf.reshape(policy.returns(played.rewards, self.config.control.discount), [-1])
    with passes.training_pass():
      with tf.GradientTape() as tape:
        outputs = model(tf.reshape(played.images, [-1, *catch.IMAGE_SHAPE]), training=True)
        loss = policy.loss(outputs, tf.reshape(played.actions, [-1]), reached, self.config.control)
      gradients = tape.gradient(loss, trainable)
    return gradients, tf.stack([loss, policy.catch_rate(played)])


TELLS = told.Told(largest_weight=1.0, summary=lambda sums: collections.OrderedDict(
    (name, tf.cast(tf.math.divide_no_nan(sums[name], sums['clients']), tf.float32)) for name in ('loss', 'catch_rate')),
                  quantities={told.Measured.EXACT: collections.OrderedDict(
                      loss=told.fixed_point(-2.0**16, 2.0**16, 2.0**-16, open_ended=True),
                      catch_rate=told.fixed_point(0, 1, 2.0**-20)),
                              told.Measured.NOTHING: {}})


@dataclasses.dataclass(frozen=True)
class Game(protocols.ClientData):
  """A player in the environments of all clients: an `experiment.Learner`; all clients have the same weight."""
  player: Player
  environments: Sequence[catch.Environment]
  tells: told.Told = TELLS

  def keras_model(self) -> tf.keras.Model:
    """Returns a fresh policy."""
    return self.player.keras_model()

  def first_weights(self) -> tff.learning.models.ModelWeights:
    """Returns the policy of round 0, a function of the seed."""
    with tasks.keras_seed(seeds.derive(self.player.config.program.seed, 'initial weights') % 2**32):
      return tff.learning.models.ModelWeights.from_model(self.keras_model())

  def client_work(self, beside: told.Beside) -> tff.learning.templates.ClientWorkProcess:
    """Returns the work of one client, which also reports what `beside` specifies."""
    return _client_work(self.player, beside)

  def present(self, cohort: Sequence[int]) -> Sequence[int]:
    """Returns the clients of `cohort` that can play: all."""
    return cohort

  def request(self, client: int, round_num: int) -> tf.data.Dataset:
    """Returns the input of `client` in a round."""
    return self.player.request(self.environments[client], client, round_num)

  def experiment(self) -> experiment.OwnWork:
    """Returns the federated training of the policy."""
    config = self.player.config
    return experiment.OwnWork(
        learner=self, population=len(self.environments), participation=config.cohort, server=config.server,
        secure_sum=config.secure, aggregator=config.aggregation, rounds=config.program.rounds, seed=config.program.seed)


def _client_work(player, beside):
  data_type = tff.SequenceType(tff.types.tensorflow_to_type(ELEMENT_SPEC))

  @tff.tensorflow.computation(player.weights_type, data_type)
  def learn(weights, data):
    update, measured = player.learn(weights, data)
    finite = tf.reduce_all([tf.reduce_all(tf.math.is_finite(part)) for part in update])
    # As with images, a client whose training diverged sends zeros with weight zero.
    sent = tuple(tf.where(finite, part, tf.zeros_like(part)) for part in update)
    measured = tf.cast(measured, tf.float64)
    numbers = collections.OrderedDict(loss=measured[0], catch_rate=measured[1])
    return local_training.returned(
        tff.learning.templates.ClientResult(sent, tf.cast(finite, tf.float32)),
        collections.OrderedDict((name, numbers[name]) for name in TELLS.quantities[beside.measured]), beside)

  @tff.federated_computation
  def initialize():
    return tff.federated_value((), tff.SERVER)

  @tff.federated_computation(initialize.type_signature.result, tff.FederatedType(player.weights_type, tff.CLIENTS),
                             tff.FederatedType(data_type, tff.CLIENTS))
  def next_fn(state, weights, data):
    result, measured = local_training.split(tff.federated_map(learn, (weights, data)), TELLS.summary)
    return tff.templates.MeasuredProcessOutput(state, result, local_training.zipped(measured))

  return tff.learning.templates.ClientWorkProcess(initialize, next_fn)
