"""`make faults`: break the service's dependencies under load, and count the lost changes."""
