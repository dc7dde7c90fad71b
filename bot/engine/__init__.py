"""The queue: everything that speaks to Redis, and the loops that move messages."""
