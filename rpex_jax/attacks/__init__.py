"""What goes wrong: corruption of what is stored, perturbation of what is executed."""
