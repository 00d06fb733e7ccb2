"""The sanitize stage: memory errors and races, by the tool that fits the backend and the device."""
