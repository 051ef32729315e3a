"""What a system must beat: linear probes, and prototypes of the enrollment."""
