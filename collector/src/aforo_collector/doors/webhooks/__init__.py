"""The door for webhooks: what a provider signed becomes usage events.

    verify (raw bytes) ─► split (provider events) ─► filter ─► map (JSONPath) ─► events of a Submission

One file per provider, one line in `registry`; nothing here reads a clock or knows the store.
"""
