"""A thousand ModelDeployments at once on kwok nodes: time, CPU, memory and API calls of the operator."""
