"""The Telegram bot: staff commands, and the menu of customers."""
