"""The commands: parse, options, call the stage, show."""
