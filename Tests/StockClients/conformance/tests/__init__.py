"""The tests, a module a subject."""
