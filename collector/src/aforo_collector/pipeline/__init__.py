"""The stages that every usage event walks, as pure functions."""
