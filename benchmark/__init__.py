"""What is measured: families, scenarios, datasets, protocol, statistics. Knows no agent."""
