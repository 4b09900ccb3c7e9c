"""What threads of a project work in: their work trees, and what is done with them."""
