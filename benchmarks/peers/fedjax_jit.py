"""FedJAX's simulation with its default backend, jit on one device.

    python -m benchmarks.peers.fedjax_jit WORKLOAD
"""

import fedjax
import haiku as hk
import jax
import jax.numpy as jnp

from benchmarks.peers import protocol


def main() -> None:
  work = protocol.requested()
  model = _resnet18(work) if work.kind == 'cifar' else fedjax.models.emnist.create_conv_model()
  algorithm = fedjax.algorithms.fed_avg.federated_averaging(
      fedjax.model_grad(model), fedjax.optimizers.sgd(work.learning_rate), fedjax.optimizers.sgd(1.0),
      fedjax.ShuffleRepeatBatchHParams(batch_size=work.batch_size, num_epochs=1, seed=0))
  data = [fedjax.ClientDataset({'x': x, 'y': y}) for x, y in work.clients_data()]
  keys = jax.random.split(jax.random.PRNGKey(0), work.clients)
  state = [algorithm.init(model.init(jax.random.PRNGKey(1)))]

  def run_round():
    clients = [(str(i), client, key) for i, (client, key) in enumerate(zip(data, keys, strict=True))]
    state[0], _ = algorithm.apply(state[0], clients)
    jax.block_until_ready(state[0].params)

  protocol.serve(run_round)


def _resnet18(work):
  """Returns ResNet-18 for 32x32 with GroupNorm of 32 groups in place of BatchNorm."""
  def forward(batch):
    conv = lambda channels, kernel, stride, x: hk.Conv2D(channels, kernel, stride, with_bias=False)(x)
    norm = lambda x: hk.GroupNorm(32)(x)
    x = jax.nn.relu(norm(conv(64, 3, 1, batch['x'])))
    for channels in (64, 128, 256, 512):
      for _ in range(2):
        stride = 1 if x.shape[-1] == channels else 2
        shortcut = x if stride == 1 else norm(conv(channels, 1, stride, x))
        inner = jax.nn.relu(norm(conv(channels, 3, stride, x)))
        x = jax.nn.relu(norm(conv(channels, 3, 1, inner)) + shortcut)
    return hk.Linear(work.classes)(jnp.mean(x, axis=(1, 2)))

  sample = {'x': jnp.zeros((1, *work.shape)), 'y': jnp.zeros(1, jnp.int32)}
  return fedjax.create_model_from_haiku(
      hk.transform(forward), sample,
      train_loss=lambda batch, logits: fedjax.metrics.unreduced_cross_entropy_loss(batch['y'], logits))


if __name__ == '__main__':
  main()
