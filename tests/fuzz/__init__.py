"""`make fuzz`: generated requests to running servers, by their own OpenAPI description.

schemathesis, by `hooks`, looks for what the description does not say, and sends some thousands;
`sending` has more callers, more nonsense, and sends the rest.
"""

# The usernames of those who belong to no organization yet.
NEWCOMER = "newcomer-{}"
