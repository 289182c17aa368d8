"""Studies: definition, budgets, status, result and pages."""
