"""The queue trigger: messages become events, and outcomes decide what becomes of the messages. Imports only `bus`."""
