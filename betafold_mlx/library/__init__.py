"""Libraries of peptides: streamed, in flat memory, resumable after a kill."""
