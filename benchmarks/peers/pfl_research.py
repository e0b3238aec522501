"""pfl-research's simulation (PyTorch), one process as in its own benchmarks.

    python -m benchmarks.peers.pfl_research WORKLOAD
"""

import sys

import torch
from pfl.aggregate.simulate import SimulatedBackend
from pfl.algorithm.base import NNAlgorithmParams
from pfl.algorithm.federated_averaging import FederatedAveraging
from pfl.callback.base import TrainingProcessCallback
from pfl.data.federated_dataset import FederatedDataset
from pfl.data.pytorch import PyTorchTensorDataset
from pfl.data.sampling import get_user_sampler
from pfl.hyperparam.base import NNTrainHyperParams
from pfl.metrics import Metrics
from pfl.model.pytorch import PyTorchModel

from benchmarks.peers import protocol, torch_models


class _Module(torch.nn.Module):

  def __init__(self, net):
    super().__init__()
    self.net = net

  def loss(self, x, y):
    self.train()
    return torch.nn.functional.cross_entropy(self.net(x), y)

  def metrics(self, x, y):
    return {}


class _Rounds(TrainingProcessCallback):

  def __init__(self):
    self._gate = protocol.Gate()

  def after_central_iteration(self, aggregate_metrics, model, *, central_iteration):
    return not self._gate.round_done(), Metrics()


def main() -> None:
  work = protocol.requested()
  module = _Module(torch_models.build(work))
  data = {str(i): client for i, client in enumerate(torch_models.tensors(work))}
  clients = FederatedDataset(lambda name: PyTorchTensorDataset(data[name], user_id=name),
                             get_user_sampler('minimize_reuse', list(data)))
  model = PyTorchModel(module, torch.optim.SGD, torch.optim.SGD(module.parameters(), lr=1.0))
  FederatedAveraging().run(
      NNAlgorithmParams(central_num_iterations=sys.maxsize, evaluation_frequency=sys.maxsize,
                        train_cohort_size=work.clients, val_cohort_size=None),
      SimulatedBackend(training_data=clients, val_data=None), model,
      NNTrainHyperParams(local_num_epochs=1, local_learning_rate=work.learning_rate,
                         local_batch_size=work.batch_size),
      callbacks=[_Rounds()])


if __name__ == '__main__':
  main()
