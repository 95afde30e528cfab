"""The folding network: Transformer, torsion and confidence heads, and its directories."""
