"""What agents ask of Weft by its tools: done for the person whose prompt they work on, and for nobody else."""
