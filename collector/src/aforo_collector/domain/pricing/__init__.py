"""The pricing models, one module each; `table` lists them."""
