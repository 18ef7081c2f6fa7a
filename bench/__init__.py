"""How fast, against what, and how it grows."""
