"""`make faults`: break what the service stands on, under load, and count what its clients lose."""
