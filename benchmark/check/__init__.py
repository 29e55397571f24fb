"""`wbench check`: whether a family, or an agent, keeps the contract."""
