"""Pure core: arrays in, arrays out; no files, no clock."""
