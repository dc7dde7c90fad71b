"""ClickPesa BillPay: its checksum, its webhooks, its API."""
