"""Aforo collector: OTLP spans in, sessions, usage events and invoices out."""
