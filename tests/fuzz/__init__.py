"""`make fuzz`: send generated requests to running servers, based on their OpenAPI document.

schemathesis (with `hooks`) sends some thousands and looks for undocumented behaviour. `sending`
uses more callers and more invalid data, and sends the rest.
"""

# Usernames of users who belong to no organization yet.
NEWCOMER = "newcomer-{}"
