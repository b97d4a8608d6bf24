"""What a mount is told: options, the configuration file, and the settings that come out of both."""
