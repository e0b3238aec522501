"""Federated image data: sources, partitions, clients, preprocessing."""

from tff_vision.data import given
from tff_vision.data.images import FederatedImages as FederatedImages
from tff_vision.data.images import Preprocessing as Preprocessing

from_arrays = given.from_arrays
from_client_data = given.from_client_data
load = given.load
