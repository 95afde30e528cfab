"""The report of a prediction: one HTML file that opens anywhere, offline."""
