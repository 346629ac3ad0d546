"""What comes in: bytes of the wire to values of the domain, and answers back."""
