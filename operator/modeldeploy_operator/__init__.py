"""Kubernetes operator that turns one ModelDeployment into a served, versioned model."""
