"""Flower's simulation (Ray, PyTorch), one client per core; with Opacus on the clients for the private workload.

    python -m benchmarks.peers.flower_simulation WORKLOAD
"""

import os

import flwr
import torch
from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
from flwr.clientapp import ClientApp
from flwr.serverapp import ServerApp
from flwr.serverapp.strategy import FedAvg

from benchmarks.peers import protocol, torch_models, workload


def _batches(work, x, y):
  order = torch.randperm(len(y))
  for i in range(0, len(y), work.batch_size):
    yield x[order[i:i + work.batch_size]], y[order[i:i + work.batch_size]]


def _train(work, net, x, y):
  optimizer = torch.optim.SGD(net.parameters(), lr=work.learning_rate)
  net.train()
  if work.kind == 'dp':
    import opacus
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=work.batch_size)
    net, optimizer, batches = opacus.PrivacyEngine().make_private(
        module=net, optimizer=optimizer, data_loader=loader, noise_multiplier=work.noise_multiplier,
        max_grad_norm=work.clip_norm)
  else:
    batches = _batches(work, x, y)
  for inputs, labels in batches:
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(net(inputs), labels).backward()
    optimizer.step()


def _client_app(work: workload.Workload) -> ClientApp:
  app = ClientApp()

  @app.train()
  def train(message, context):
    torch.set_num_threads(1)
    net = torch_models.build(work)
    net.load_state_dict(message.content['arrays'].to_torch_state_dict())
    x, y = torch_models.tensors(work)[context.node_config['partition-id']]
    _train(work, net, x, y)
    return Message(RecordDict({'arrays': ArrayRecord(net.state_dict()),
                               'metrics': MetricRecord({'num-examples': len(y)})}), reply_to=message)

  return app


class _Rounds(FedAvg):

  def __init__(self):
    super().__init__(fraction_evaluate=0.0)
    self._gate = protocol.Gate()

  def aggregate_train(self, server_round, replies):
    replies = list(replies)
    found = super().aggregate_train(server_round, replies)
    if not replies or any(reply.has_error() for reply in replies):
      raise RuntimeError('a client failed')
    if not self._gate.round_done():
      os._exit(0)
    return found


def _server_app(work: workload.Workload) -> ServerApp:
  app = ServerApp()

  @app.main()
  def main(grid, context):
    del context
    _Rounds().start(grid, ArrayRecord(torch_models.build(work).state_dict()), num_rounds=10**6)

  return app


if __name__ == '__main__':
  chosen = protocol.requested()
  flwr.simulation.run_simulation(
      _server_app(chosen), _client_app(chosen), num_supernodes=chosen.clients,
      backend_config={'client_resources': {'num_cpus': 1, 'num_gpus': 0.0}})
