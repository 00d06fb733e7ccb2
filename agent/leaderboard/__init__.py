"""A static site from results of many benches and machines: who solved what, how fast, on which device, with what evidence."""
