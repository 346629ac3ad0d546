"""The collector's commands: parse arguments, talk to a collector, print."""
