"""What models cost us: public prices that ship with the package, and the tenant's own that go before them."""
