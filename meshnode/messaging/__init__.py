"""Who says what to whom: the switch, its call table, deadlines and cancels."""
