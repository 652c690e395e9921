"""Data: folders in Learn2Reg layout, the procedural phantom and paired patches."""
