"""The timer trigger: scheduled times become events. Imports only `bus`."""
