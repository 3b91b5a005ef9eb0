//! How many bytes a model needs before anything is loaded.
