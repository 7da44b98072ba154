"""The pages, one module each: `routes(site)`."""
