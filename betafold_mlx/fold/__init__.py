"""Folding: from the network's answer to ranked structures and their files (`pipeline` has the five steps)."""
