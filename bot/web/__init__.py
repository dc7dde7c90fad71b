"""HTTP: the API, provider webhooks, and the pages customers open."""
