"""Tests of the queue policy."""
