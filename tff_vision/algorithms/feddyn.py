"""FedDyn: Acar et al., "Federated Learning Based on Dynamic Regularization", ICLR 2021, algorithm 1.

Client k keeps the linear term g_k of its objective: it steps along grad - g_k + alpha * (w - w_server), and afterwards
g_k' = g_k - alpha * (w - w_server). The server keeps h: alpha times the mean over ALL clients of their movement (zero
for clients that do not take part). The new model is the mean of the clients' models minus h / alpha.
"""

import tensorflow as tf

from tff_vision.algorithms import scaffold
from tff_vision.learning import algorithm


class FedDyn(algorithm.Algorithm):
  """Server state: h. Kept by client k: g_k, zero at first."""
  keeps = True
  reads_share = True

  def __init__(self, strength: float):
    """Args: `strength` is alpha."""
    self._alpha = strength
    self._proximal = algorithm.proximal_gradient(strength)

  @classmethod
  def from_config(cls, task, config, client):
    return cls(config.feddyn_strength)

  def server_state(self, weights):
    return scaffold.zeros_like(weights)

  def brings(self, weights):
    return scaffold.zeros_like(weights)

  def work(self, client):
    def regularised(carried, gradients, weights, server_weights):
      linear = [g - mine for g, mine in zip(gradients, client.brought, strict=True)]
      return self._proximal(carried, linear, weights, server_weights)

    trained = client.descend(regularised)
    update = tuple(trained.update())
    return algorithm.Work(trained=trained, sent=update, kept=tuple(
        mine + self._alpha * u for mine, u in zip(client.brought, update, strict=True)))

  def step(self, server, mean, share, weights):
    del weights
    drift = tuple(h + self._alpha * share * u for h, u in zip(server, mean, strict=True))
    someone = tf.cast(share > 0, tf.float32)  # A round without clients does not change the model.
    return drift, [someone * (u + h / self._alpha) for u, h in zip(mean, drift, strict=True)]
