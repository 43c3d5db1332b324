"""What the commands of `jensen` do, one file a command; heavy imports wait until a command needs them."""
