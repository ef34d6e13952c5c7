"""Programs that build datasets on disk."""
