"""Usage events from files: CSV and NDJSON, read as a stream that can be taken up again anywhere."""
