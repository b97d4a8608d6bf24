"""A domain's datagrams by an MQTT broker."""
