"""Evidence beside theory: what an attacker measures must stay below what the accountant says."""
