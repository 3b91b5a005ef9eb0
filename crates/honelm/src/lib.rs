//! Shrink, prove and run language models on the device in front of you.
