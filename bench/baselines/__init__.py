"""Simpler implementations of the same endpoints, on the same tables, to compare with.

Each answers `PATCH`, `GET` and a list of 50 below `/api/v1/data-sources`, accepts the same access
tokens, and restricts rows to the caller's organizations. An update locks the row, increments
`version` and adds a revision. Nothing else of rivergen is implemented.
"""
