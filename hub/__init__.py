"""A loopback Hugging Face Hub for labs without internet and for the tests: real clients, real HTTP, a folder for a store."""
