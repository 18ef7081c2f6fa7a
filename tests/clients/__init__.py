"""`make clients`: generate clients from the OpenAPI document, check their types, and drive them.

Each client runs the same scenario against a running service. The generated code is in `.generated`,
with the document and the log of the service.
"""
