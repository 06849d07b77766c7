"""Listening tests: people rate separated stems in a browser, and the ratings are analysed."""
