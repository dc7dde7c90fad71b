"""The command line `tuma`."""
