"""Event → function → pool → outcome. Imports only `bus` and `sandbox`."""
