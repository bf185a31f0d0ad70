"""Checks that a person can run on their own parts: each is a command `primer verify WHAT`."""
