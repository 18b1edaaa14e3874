"""MQTT 3.1.1, and what MQTT 3.1 differs in: one file for each chapter of the standard."""
