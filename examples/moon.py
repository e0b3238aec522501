"""MOON: Li et al., "Model-Contrastive Federated Learning", CVPR 2021, algorithm 1.

    python -m pipelines.train --algorithm=examples.moon:Moon --algorithm_option=mu=1.0 --model=mlp

Features are the inputs of the model's last layer. A client pulls them towards those of the server's model and away from
those of its own model at the end of its previous round.
"""

import tensorflow as tf

import tff_vision as tv


class Moon(tv.Algorithm):
  """FedAvg with a contrastive term; a client keeps its last model, and whether it has one."""
  keeps = True

  def __init__(self, mu=1.0, temperature=0.5):
    self.mu, self.temperature = mu, temperature

  def brings(self, weights):
    return tf.constant(0.0), tuple(tf.zeros(w.shape, w.dtype) for w in weights)

  def work(self, client):
    seen, previous = client.brought
    features = lambda model: tf.keras.Model(model.inputs, [model.layers[-1].input, model.output])
    ours, theirs = features(client.model_at(client.server_weights.trainable)), features(client.model_at(previous))

    def loss(model, x, y, logits):
      unit = lambda z: tf.math.l2_normalize(tf.reshape(z, [tf.shape(x)[0], -1]), axis=1)
      now, shared, before = (unit(net(x)[0]) for net in (features(model), ours, theirs))
      near, far = (tf.reduce_sum(now * z, 1) / self.temperature for z in (shared, before))
      return client.task.loss_fn(y, logits) + self.mu * seen * tf.reduce_mean(tf.nn.softplus(far - near))

    trained = client.descend(loss=loss)
    return tv.Work(trained=trained, sent=tuple(trained.update()), kept=(tf.constant(1.0), tuple(trained.weights)))
