"""Where product rows live. Nothing is re-exported: import from the module that owns a name."""
