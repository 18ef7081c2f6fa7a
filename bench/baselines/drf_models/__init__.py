"""The tables of rivergen as plain Django models."""
