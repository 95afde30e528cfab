"""From what the network says to structures: starts are drawn, all are minimised together, rings and bridges closed."""
