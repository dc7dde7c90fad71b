"""The Telegram bot: staff commands, and the menu of customers."""

from channels import aiogram_lazily  # noqa: F401  (before aiogram)
