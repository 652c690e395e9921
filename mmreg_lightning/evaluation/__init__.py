"""Measures of a registration: Dice, surfaces, landmarks, Jacobian, Learn2Reg's forms; and of a folder of fields."""
