"""What drctl does, one readable walk a file. None of them knows YAML or a terminal."""
