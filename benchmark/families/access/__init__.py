"""The family `access`: multichannel slotted random access with queues."""
