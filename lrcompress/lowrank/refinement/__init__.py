"""What brings a layer nearer to the original than a closed form does, by what it says of inputs."""
