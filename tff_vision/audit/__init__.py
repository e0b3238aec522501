"""Attacks on finished and running trainings: what an attacker measures must stay below what the ledger states."""
