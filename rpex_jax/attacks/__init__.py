"""What goes wrong with data and actions: corruption of what is stored."""
