"""What people see in the folder itself: a page for each inbox, and a note beside each recording that failed."""
