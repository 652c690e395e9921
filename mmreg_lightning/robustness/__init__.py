"""How registration fares when images are worse than those that its settings were chosen on."""
