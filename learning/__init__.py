"""What all learners share: training, checkpoints, codecs, small networks."""
