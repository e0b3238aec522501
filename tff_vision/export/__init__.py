"""Models of finished runs in the formats of deployment, each compared with the federated state."""
