"""Engines: what runs agents on other machines, each in a module by its kind; `model` says what they have in common."""
