"""What others would write for the same job, on the same tables, as yardsticks.

Each answers `PATCH`, `GET` and a list of 50 under `/api/v1/data-sources`, for bearers of the same
tokens, within their organizations; an update locks its row, moves `version` and adds a revision.
None has more of rivergen than that.
"""
