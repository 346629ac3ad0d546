"""The tests; a package, because a distribution that is tested beside ours brings a package of this name."""
