"""Separation in the browser: jobs and their workers, the REST API, the pages, the live tab."""
