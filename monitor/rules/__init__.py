"""What is out of order: the rules, what they need to know of the past, and the alerts that follow."""
