"""How likely a registration is wrong, and where: from what it leaves behind, calibrated on pairs with labels."""
