"""The mathematics of single forms: factors with a structure, and heads of attention."""
