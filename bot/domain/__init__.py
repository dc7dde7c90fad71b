"""The words of the business as values: no input or output happens here."""
