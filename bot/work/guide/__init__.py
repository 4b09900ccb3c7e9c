"""What people are told about how to use Weft: on request, and once unasked."""
