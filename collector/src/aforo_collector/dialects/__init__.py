"""Dialects: pure translation of attribute sets into `domain.span.Span`."""
