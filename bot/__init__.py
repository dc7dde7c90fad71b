"""tuma: sends a ClickPesa control number to the customer, reminds, and stops when it is paid."""
