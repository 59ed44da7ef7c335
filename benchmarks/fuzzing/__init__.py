"""Mutations of model files that know their structure, and a watched process to try them in."""
