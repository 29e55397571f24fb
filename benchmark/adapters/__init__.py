"""wbench's tasks in the interfaces of PettingZoo and Gymnasium."""
