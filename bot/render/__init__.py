"""From templates and one bill to what one person reads."""
