"""The steps of the whole job, and what is kept of them; imported where they are needed."""
