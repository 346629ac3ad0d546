"""The trade itself: pure values and functions; time, randomness and files are arguments or absent."""
