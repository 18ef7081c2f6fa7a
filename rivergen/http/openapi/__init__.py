"""openapi.json, built from the code by drf-spectacular, and the words that endpoints share."""
