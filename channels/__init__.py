"""How to reach a person: one file per way. Knows nothing of the bot package."""
