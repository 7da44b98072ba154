"""What becomes of a recording after its success, where its inbox says so: it goes to another folder."""
