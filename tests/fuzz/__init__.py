"""`make fuzz`: schemathesis against a running server, by its own OpenAPI description."""

# The usernames of those who belong to no organization yet.
NEWCOMER = "newcomer-{}"
