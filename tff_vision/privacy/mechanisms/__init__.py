"""Privacy mechanisms: what each clips and noises, and the plan that states its cost."""
