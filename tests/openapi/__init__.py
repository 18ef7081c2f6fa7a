"""The committed description of the API: written, compared with what the code builds, and linted."""
