"""What fits where: machines, matrices, choices of a repository, and what was learnt from measured workers."""
